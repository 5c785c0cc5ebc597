"""Fine-tune, prompt, retrieve, or do not: three conditions as evidence, and what would change the answer."""
