"""Together: fine-tuning billed by trained tokens."""
