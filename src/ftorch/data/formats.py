"""The formats of chat rows. Each reads a plain row fast, and any other row with every fault that it has.

`quick` answers a record only where the full check would find nothing; None sends the line to `full`. The law that both
agree is tested on mutated rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, Protocol

import msgspec

from ftorch.data.chat import Turn, check_each, check_end, check_keys, check_order, to_messages, turns_of
from ftorch.data.parse import Object, hides_pair
from ftorch.data.records import Completion, Kind, Message, Record
from ftorch.data.report import Notes
from ftorch.data.tools import check_calls, check_tools
from ftorch.manifest.schema import DataFormat

Text = str | list[Message]

_QUOTES = 8
"""Around two keys and two values: what every message has."""
_PAIR_QUOTES = 8


class Format(Protocol):
    """How one kind of row is read."""

    name: DataFormat
    kind: Kind

    @property
    def answer_key(self) -> str | None:
        """Where the answer stands in a row, for people; None where that differs from row to row."""
        ...

    def quick(self, line: bytes) -> Record | None:
        """The record of a plain row, or None when the full check must look. Raises what msgspec raises."""
        ...

    def full(self, row: Object, notes: Notes) -> Record | None:
        """The record of any row, or None when an error was noted."""
        ...


class _MessagesRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    messages: list[Message]


_decode_messages = msgspec.json.Decoder(_MessagesRow).decode


class Messages:
    """`{"messages": [{"role", "content"}, ...]}`: the last answer is learned, everything before it is the prompt."""

    name = DataFormat.MESSAGES
    kind = Kind.COMPLETION
    answer_key = None

    def quick(self, line: bytes) -> Record | None:
        messages = _decode_messages(line).messages
        if not is_plain(messages) or hides_pair(line, 2 + _QUOTES * len(messages)):
            return None
        answer = messages.pop()
        return Completion(messages, [answer])

    def full(self, row: Object, notes: Notes) -> Record | None:
        check_keys(row, ("messages", "tools"), notes)
        if not isinstance(row.get("messages"), list) or not row["messages"]:
            notes.add("D101", "no messages", key="messages")
            return None
        turns = turns_of(row["messages"], "messages", "user", notes)
        answer = turns[-1] if turns and turns[-1].role == "assistant" else None
        check_each(turns, answer, notes)
        check_order(turns, notes)
        check_calls(turns, notes)
        check_tools(row.get("tools"), notes)
        if turns:
            check_end(turns, notes)
        if notes.has_errors:
            return None
        messages = to_messages(turns)
        return Completion(messages[:-1], messages[-1:])


class _CompletionRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    prompt: Text
    completion: Text


_decode_completion = msgspec.json.Decoder(_CompletionRow).decode


class PromptCompletion:
    """`{"prompt", "completion"}`: texts, or lists of messages."""

    name = DataFormat.PROMPT_COMPLETION
    kind = Kind.COMPLETION
    answer_key = "completion"

    def quick(self, line: bytes) -> Record | None:
        row = _decode_completion(line)
        if isinstance(row.prompt, str) and isinstance(row.completion, str):
            return _pair(line, row.prompt, row.completion)
        prompt, completion = said(row.prompt, "user"), said(row.completion, "assistant")
        if len(completion) != 1 or not is_plain([*prompt, *completion]):
            return None
        return None if hides_pair(line, quotes(row.prompt) + quotes(row.completion)) else Completion(prompt, completion)

    def full(self, row: Object, notes: Notes) -> Record | None:
        check_keys(row, ("prompt", "completion", "tools"), notes)
        prompt = field_of(row, "prompt", "user", notes)
        completion = answer_of(row, "completion", notes)
        check_pair(prompt, completion, notes)
        check_tools(row.get("tools"), notes)
        return None if notes.has_errors else Completion(to_messages(prompt), to_messages(completion))


MESSAGES = Messages()
PROMPT_COMPLETION = PromptCompletion()


def _pair(line: bytes, prompt: str, completion: str) -> Record | None:
    """Two texts: rows of this kind are short, and a file has millions of them."""
    if not prompt.strip() or not completion.strip() or hides_pair(line, _PAIR_QUOTES):
        return None
    return Completion([Message("user", prompt)], [Message("assistant", completion)])


def is_plain(messages: Sequence[Message]) -> bool:
    """System first if at all, then user and assistant in turn, the assistant last, and no turn blank."""
    if [message.role for message in messages] != _plain_roles(len(messages)):
        return False
    for message in messages:  # a loop: `all` with a generator costs twice as much, for every row of a file
        if not message.content.strip():
            return False
    return len(messages) > 1


@cache
def _plain_roles(count: int) -> list[str]:
    """Only with a system message is their number odd."""
    return ["system"] * (count % 2) + ["user", "assistant"] * (count // 2)


def quotes(field: Text) -> int:
    """The quotes around the key of a field and around all that is in it."""
    return 4 if isinstance(field, str) else 2 + _QUOTES * len(field)


def said(value: Text, role: Literal["user", "assistant"]) -> list[Message]:
    return [Message(role, value)] if isinstance(value, str) else value


def field_of(row: Object, key: str, role: str, notes: Notes, *, path: str | None = None) -> list[Turn]:
    """The turns of a field that must be there and not be empty."""
    path = path or key
    if row.get(key) is None or row[key] == []:
        notes.add("D201", "missing" if row.get(key) is None else "holds no message", key=path)
        return []
    return turns_of(row[key], path, role, notes)


def answer_of(row: Object, key: str, notes: Notes) -> list[Turn]:
    """The one assistant message of an answer."""
    turns = field_of(row, key, "assistant", notes)
    if len(turns) > 1:
        hint = "put what was said before into the prompt"
        notes.add("D204", f"{len(turns)} messages; an answer is one", key=key, hint=hint)
    elif turns and isinstance(turns[0].role, str) and turns[0].role != "assistant":
        notes.add("D204", f"an answer is from 'assistant', not {turns[0].role!r}", key=f"{turns[0].key}.role")
    return turns


def check_pair(prompt: Sequence[Turn], answer: Sequence[Turn], notes: Notes) -> None:
    """A prompt and its answer, read as one conversation."""
    turns = [*prompt, *answer]
    check_each(turns, answer[-1] if answer else None, notes)
    check_calls(turns, notes)
    if prompt and answer:
        check_order(turns, notes)
    if answer and not answer[-1].is_trainable and answer[-1].role == "assistant":
        check_end(turns, notes)
