"""This machine as a provider: the trainer as a process of its own that outlives whoever started it."""
