"""Anyscale: fine-tuning on Ray clusters that live for one job."""
