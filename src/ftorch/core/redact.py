"""What must never be written down, taken out of a log event before anybody sees it.

Three nets, because each has holes: the names of fields, the values that we know to be secret, and the forms in which
credentials travel (headers, URLs). What is not plain JSON becomes text first, so that nothing hides in a `repr`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

_SHORTEST = 4
"""A shorter secret is taken out only where it is the whole value: inside other words it would blot out the log."""
_SHORTEST_LINE = 16
"""A line of a private key is as secret as the key; a shorter one is its frame."""

_SECRET_NAME = re.compile(
    r"authori[sz]ation|password|passwd|passphrase|secret|cookie|credential|(api|private|access|account)_?key"
    r"|token(_id|_value)?$"
)
_CONTENT_NAMES = frozenset({"prompt", "prompts", "messages", "completion", "completions", "rows", "body", "content"})
"""Fields that carry what people wrote. A number is left: `rows=120` says how many, not which."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_FORMS: Sequence[tuple[re.Pattern[str], str]] = (
    # scheme://user:password@host, up to the last @: a password that nobody quoted may hold a slash.
    (re.compile(r"(?P<kept>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)\S+(?=@)", re.IGNORECASE), rf"\g<kept>{REDACTED}"),
    (re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[a-z0-9+/=._~-]{6,}", re.IGNORECASE), rf"\g<kept>{REDACTED}"),
    (
        re.compile(r"(?P<kept>[?&;](?:api_?key|access_?token|token|key|signature|sig)=)[^&\s'\"]+", re.IGNORECASE),
        rf"\g<kept>{REDACTED}",
    ),
    # The marks that issuers put before their keys, for those that lie in a login file which we never read.
    (re.compile(r"\b(?:sk-|hf_|ak-|as-|aph0_|tgp_v1_)[A-Za-z0-9_-]{16,}"), REDACTED),
    # pydantic's errors quote what they were given: the answer of a provider, or a row.
    (re.compile(r"(?P<kept>\binput_value=).*?(?=, input_type=)", re.DOTALL), rf"\g<kept>{REDACTED}"),
)


def looks_secret(name: str) -> bool:
    """Whether a field or a variable of this name is likely to hold a credential. `trained_tokens` is a count."""
    return bool(_SECRET_NAME.search(_CAMEL.sub("_", name).lower().replace("-", "_")))


class Redactor:
    """A structlog processor: an event goes in, the same event without secrets, prompts and rows comes out."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        self._whole: frozenset[str] = frozenset()
        self._inside: re.Pattern[str] | None = None
        self.conceal(secrets)

    def conceal(self, secrets: Collection[str]) -> None:
        """From now on these values are secret too, such as those of a manifest that was submitted today."""
        if self._whole.issuperset(secrets):
            return
        self._whole |= {secret for secret in secrets if secret}
        shapes = {shape for secret in self._whole for shape in _shapes(secret)}
        # The longest first: a secret that begins like another must not leave its tail behind.
        ordered = sorted(shapes, key=len, reverse=True)
        self._inside = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        return {self.text(str(name)): self._named(str(name), value) for name, value in event.items()}

    def text(self, words: str) -> str:
        """Text without the secrets in it."""
        if words in self._whole:
            return REDACTED
        # Known values first: a form would cut one of them short and hide it from the search.
        kept = self._inside.sub(REDACTED, words) if self._inside else words
        for form, instead in _FORMS:
            kept = form.sub(instead, kept)
        return kept

    def _named(self, name: str, value: object) -> object:
        is_content = name.lower() in _CONTENT_NAMES and not isinstance(value, int)
        if value is not None and (is_content or looks_secret(name)):
            return REDACTED
        return self._value(value)

    def _value(self, value: object) -> object:
        match value:
            case None | bool():
                return value
            case str():
                return self.text(value)
            case int() | float():
                return value if self.text(str(value)) == str(value) else REDACTED
            case Mapping():
                return {self.text(str(name)): self._named(str(name), inner) for name, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._value(inner) for inner in value]
            case _:
                return self.text(_as_text(value))


def _shapes(secret: str) -> Iterator[str]:
    """A secret as it may stand in other text: itself, in a URL, in JSON, in a `repr`, and line by line."""
    lines = [line for line in secret.splitlines() if len(line) >= _SHORTEST_LINE]
    for part in {secret, secret.strip(), *lines}:
        if len(part) >= _SHORTEST:
            yield from (part, quote(part), quote(part, safe=""), quote_plus(part))
            yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], repr(part)[1:-1])


def _as_text(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  a line of the log must not fail because an object cannot describe itself
        return f"<{type(value).__name__}>"
