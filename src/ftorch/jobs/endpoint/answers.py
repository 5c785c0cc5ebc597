"""A chat completion as endpoints send it, and what of it counts as the model's answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class UnreadableError(Exception):
    """No chat completion. `is_half`: it looks like the beginning of one."""

    def __init__(self, why: str, *, is_half: bool = False) -> None:
        super().__init__(why)
        self.is_half = is_half


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what the endpoint says it counted. A count that is not told is None."""

    output: str
    prompt_tokens: int | None
    output_tokens: int | None
    is_truncated: bool
    note: str
    """What is unusual about it, for a person; mostly empty."""


class _Wire(BaseModel):
    """Unknown keys are the endpoint's business. Its values stay out of errors: it may repeat our key."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Message(_Wire):
    content: str | list[Any] | None = None
    refusal: str | None = None

    @property
    def text(self) -> str | None:
        """The content, or its parts that are text; None when there is none."""
        if not isinstance(self.content, list):
            return self.content
        texts = [part["text"] for part in self.content if _is_text(part)]
        return "".join(texts) if texts else None


class _Choice(_Wire):
    message: _Message
    finish_reason: str | None = None


class _Completion(_Wire):
    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


def parse(content: bytes) -> Answer:
    """Read an answer. Raises UnreadableError for what is none.

    A refusal in the model's words is its answer; one that was withheld, or that ran out of tokens before its first
    word, is an empty answer. All three were paid for, and asking again would bring the same.
    """
    try:
        completion = _Completion.model_validate(_value(content))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise UnreadableError(f"{place}: {first['msg']}") from error
    choice = completion.choices[0]
    prompt_tokens, output_tokens = (_count(completion.usage, name) for name in ("prompt_tokens", "completion_tokens"))
    output, *notes = _said(choice)
    if prompt_tokens is None or output_tokens is None:
        notes.append("the endpoint told no usage, so tokens are unknown")
    return Answer(_whole(output), prompt_tokens, output_tokens, choice.finish_reason == "length", "; ".join(notes))


def _value(content: bytes) -> object:
    try:
        return json.loads(content.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise UnreadableError("it is not JSON", is_half=content.lstrip().startswith(b"{")) from error


def _said(choice: _Choice) -> tuple[str, ...]:
    """The answer, and a note where it is an unusual one."""
    text, refusal = choice.message.text, choice.message.refusal
    match choice.finish_reason:
        case _ if text:
            return (text,)
        case _ if refusal:
            return refusal, "the model refused"
        case "content_filter":
            return "", "withheld by the endpoint's content filter"
        case "length":
            return "", "max_tokens was used up before the answer began"
        case _ if text is None:
            raise UnreadableError("choices.0.message.content: there is none")
        case _:
            return ("",)


def _whole(text: str) -> str:
    """Without halves of characters, which a cut at max_tokens may leave and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and value >= 0 else None


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
