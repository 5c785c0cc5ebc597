"""Providers: one folder each, one contract (`base.py`), one registry."""
