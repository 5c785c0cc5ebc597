"""What a model answers to a prompt, and how likely it holds given answers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from ftorch.trainer.rows import Message

Tokens = list[int]

_ANSWERS_AT_ONCE = 32
"""Answers scored in one pass: their logits take answers x tokens x vocabulary x 4 bytes."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with its tokenizer; `options` go to the chat template."""

    model: Any
    tokenizer: Any
    max_length: int
    options: Mapping[str, Any]

    @property
    def end_tokens(self) -> Tokens:
        """Any of these ends an answer."""
        configured = self.model.generation_config.eos_token_id
        more = configured if isinstance(configured, list) else [configured]
        return sorted({token for token in (self.tokenizer.eos_token_id, *more) if token is not None})

    def question(self, prompt: list[Message]) -> Tokens:
        """The prompt with the head of the answer. One that is too long loses its beginning."""
        return self._encoded(prompt, add_generation_prompt=True)[-self.max_length :]

    def answer_tokens(self, prompt: list[Message], answer: list[Message]) -> int:
        _, [tail] = self._split(prompt, [answer])
        return len(tail)

    def labelled(self, prompt: list[Message], labels: Sequence[str]) -> tuple[Tokens, list[Tokens]]:
        """The question, and each label up to its end token."""
        prefix, tails = self._split(prompt, [[{"role": "assistant", "content": label}] for label in labels])
        return prefix[-self.max_length :], [self._ended(tail) for tail in tails]

    def answered(self, prompt: list[Message], answers: Sequence[list[Message]]) -> tuple[Tokens, list[Tokens]]:
        """The question and its answers, cut at the end as in training."""
        prefix, tails = self._split(prompt, answers)
        room = max(0, self.max_length - len(prefix))
        return prefix[: self.max_length], [tail[:room] for tail in tails]

    def generate(self, questions: Sequence[Tokens], max_new_tokens: int) -> list[Tokens]:
        """The greedy answers, without padding, the end token included."""
        width, padding = max(map(len, questions)), self.tokenizer.pad_token_id
        tokens = torch.tensor([[padding] * (width - len(ids)) + ids for ids in questions])
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in questions])
        greedy = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=padding, eos_token_id=self.end_tokens
        )
        device = self.model.device
        with torch.inference_mode():
            written = self.model.generate(tokens.to(device), attention_mask=mask.to(device), generation_config=greedy)
        return [self._up_to_end(answer) or answer for answer in written[:, width:].tolist()]

    def log_probabilities(self, prefix: Tokens, tails: Sequence[Tokens]) -> list[float]:
        """The summed log-probability of each tail after the prefix. The prefix is read once for all of them."""
        groups = [tails[first : first + _ANSWERS_AT_ONCE] for first in range(0, len(tails), _ANSWERS_AT_ONCE)]
        with torch.inference_mode():
            cache = self._read(prefix[:-1])
            return [value for group in groups for value in self._continued(cache, prefix, group)]

    def _read(self, tokens: Tokens) -> Any:
        """The model's memory of these tokens; None for none."""
        if not tokens:
            return None
        ids = torch.tensor([tokens], device=self.model.device)
        return self.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values

    def _continued(self, cache: Any, prefix: Tokens, tails: Sequence[Tokens]) -> list[float]:
        # A tail goes in one token late, behind the prefix's last: what comes out at a place is its token there.
        width = max(1, *map(len, tails))
        fed, present = self._padded([[prefix[-1], *tail[:-1]] for tail in tails], width)
        wanted, counted = self._padded(tails, width)
        behind = torch.ones((len(tails), len(prefix) - 1), dtype=torch.long, device=self.model.device)
        mask = torch.cat([behind, present], dim=1)
        logits = self.model(input_ids=fed, attention_mask=mask, past_key_values=_copies(cache, len(tails))).logits
        likely = logits.float().log_softmax(dim=-1).gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
        return [float(value) for value in (likely * counted).sum(dim=1).tolist()]

    def _padded(self, rows: Sequence[Tokens], width: int) -> tuple[Any, Any]:
        """Rows padded on the right, and where they are real."""
        fill, device = self.tokenizer.pad_token_id, self.model.device
        tokens = torch.tensor([row + [fill] * (width - len(row)) for row in rows], device=device)
        return tokens, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)

    def _split(self, prompt: list[Message], answers: Sequence[list[Message]]) -> tuple[Tokens, list[Tokens]]:
        """What the question and all conversations begin with, and how each conversation goes on from there.

        That is the library's rule for training: some templates write a question alone differently.
        """
        question = self._encoded(prompt, add_generation_prompt=True)
        whole = [self._encoded([*prompt, *answer]) for answer in answers]
        start = min(_common(question, tokens) for tokens in whole)
        return question[:start], [tokens[start:] for tokens in whole]

    def _encoded(self, messages: list[Message], **more: Any) -> Tokens:
        encoded = self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **self.options, **more)
        return list(encoded["input_ids"])

    def _ended(self, tail: Tokens) -> Tokens:
        return self._up_to_end(tail) or [*tail, self.tokenizer.eos_token_id]

    def _up_to_end(self, tokens: Tokens) -> Tokens | None:
        """The tokens up to and with the first end token; None when there is none."""
        ends = self.end_tokens
        place = next((place for place, token in enumerate(tokens) if token in ends), None)
        return None if place is None else tokens[: place + 1]


def _copies(cache: Any, number: int) -> Any:
    """The prefix's cache once for each tail. A pass writes into the cache it is given, so it gets its own."""
    if cache is None:
        return None
    copies = copy.deepcopy(cache)
    copies.batch_repeat_interleave(number)
    return copies


def _common(tokens: Tokens, others: Tokens) -> int:
    pairs = enumerate(zip(tokens, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(tokens), len(others)))
