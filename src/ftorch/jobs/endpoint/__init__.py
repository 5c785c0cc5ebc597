"""Held-out prompts put to an OpenAI-compatible chat endpoint; every answer is asked for once and kept."""

from ftorch.jobs.endpoint.runner import Paid, ask_all, paid
from ftorch.jobs.endpoint.terms import Endpoint, Question

__all__ = ["Endpoint", "Paid", "Question", "ask_all", "paid"]
