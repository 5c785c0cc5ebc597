"""The base model's own tokenizer and chat template, without transformers and without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ftorch.data.records import Message

# The trainer renders with the same switch: a base that thinks aloud is tuned to answer at once.
_SWITCHES = {"enable_thinking": False}


# Some templates print today's date. A count must not change with the day.
_A_DAY = datetime(2026, 1, 1, tzinfo=UTC)


class RefusedError(Exception):
    """The template refuses a conversation, in its own words."""


class ChatTokenizer:
    """Counts the tokens of conversations as the trainer will see them."""

    def __init__(self, render: Callable[..., str], encode: Callable[[str], int]) -> None:
        self._render = render
        self._encode = encode

    def count(self, messages: Sequence[Message], *, asks: bool = False) -> int:
        """The tokens of a conversation; `asks` adds the head of the answer. Raises RefusedError."""
        said = [{"role": message.role, "content": message.content} for message in messages]
        return self._encode(self._render(messages=said, add_generation_prompt=asks))


def load_tokenizer(folder: Path | None) -> ChatTokenizer | None:
    """The tokenizer of a base model, or None where files or libraries are missing: then tokens are estimated."""
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    if not find_spec("tokenizers") or not find_spec("jinja2"):
        return None
    settings = _settings(folder)
    template = _template(folder, settings)
    return ChatTokenizer(_renderer(template, settings), _encoder(folder)) if template else None


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return settings


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _encoder(folder: Path) -> Callable[[str], int]:
    import tokenizers  # noqa: PLC0415  the extra `tokens`: without it tokens are estimated

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _renderer(template: str, settings: dict[str, Any]) -> Callable[..., str]:
    """The template as transformers would run it: sandboxed, with the same names."""
    import jinja2  # noqa: PLC0415  the extra `tokens`
    from jinja2.ext import Extension, loopcontrols  # noqa: PLC0415
    from jinja2.nodes import Node  # noqa: PLC0415
    from jinja2.parser import Parser  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Generation(Extension):
        """`{% generation %}` marks what is trained; for counting it is what stands inside."""

        tags = {"generation"}

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise RefusedError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _A_DAY.strftime
    try:
        compiled = environment.from_string(template)
    except jinja2.TemplateError as error:
        raise RefusedError(str(error)) from error

    def render(**names: object) -> str:
        try:
            return compiled.render(**_special_tokens(settings), **_SWITCHES, tools=None, documents=None, **names)
        except jinja2.TemplateError as error:
            raise RefusedError(str(error)) from error

    return render


def _special_tokens(settings: dict[str, Any]) -> dict[str, str]:
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    found = {name: settings.get(name) for name in names}
    return {name: value["content"] if isinstance(value, dict) else value for name, value in found.items() if value}


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
