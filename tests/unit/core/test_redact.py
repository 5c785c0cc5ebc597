from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.redact import REDACTED, Redactor, looks_secret

KEY = "correct-horse-battery"

_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
# Without backslashes: JSON doubles those of the words around it, and so can write a secret that was never there.
_letters = st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\\")
_secrets = st.text(_letters, min_size=len(REDACTED)).filter(lambda secret: secret != REDACTED)


class Opaque:
    """What a field holds when somebody logs an object as it is."""

    def __init__(self, held: str) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"Opaque(held={self.held!r})"


def planted(secret: str) -> st.SearchStrategy[dict[str, Any]]:
    """Events that hold the secret somewhere: whole, inside words, as a key, in an object, however deep."""
    about = st.text(max_size=10)
    text = st.one_of(st.just(secret), st.builds(lambda left, right: f"{left}{secret}{right}", about, about))
    spots = st.one_of(
        text, text.map(Opaque), text.map(str.encode), text.map(ValueError), text.map(lambda key: {key: 1})
    )
    nested = st.recursive(
        st.one_of(spots, _scalars),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(about, inner, max_size=3), st.tuples(inner, spots)
        ),
        max_leaves=8,
    )
    return st.fixed_dictionaries({"event": text, "field": nested, "other": spots})


@given(st.data(), _secrets)
def test_a_known_secret_never_appears_wherever_it_stood(data: st.DataObject, secret: str) -> None:
    event = data.draw(planted(secret))

    line = json.dumps(Redactor([secret])(None, "info", event))

    assert secret not in line
    assert secret not in json.loads(line)["event"]


@given(st.data())
def test_a_secret_of_ascii_is_found_in_the_repr_of_bytes_and_objects(data: st.DataObject) -> None:
    event = data.draw(planted('it\'s "quoted"\\\n' + KEY))

    assert KEY not in json.dumps(Redactor(['it\'s "quoted"\\\n' + KEY])(None, "info", event))


@pytest.mark.parametrize(
    "name",
    ["api_key", "TOGETHER_API_KEY", "apiKey", "x-api-key", "token", "hf_token", "authorization", "Proxy-Authorization",
     "password", "client_secret", "secrets", "set-cookie", "MODAL_TOKEN_ID", "accessToken", "private_key"],
)  # fmt: skip
def test_the_value_of_a_field_that_sounds_secret_is_taken_out(name: str) -> None:
    assert Redactor()(None, "info", {"event": "asked", "headers": {name: "anything"}})["headers"] == {name: REDACTED}


@pytest.mark.parametrize("name", ["trained_tokens", "train_tokens", "token_count", "key", "run", "step", "tokenizer"])
def test_a_field_that_only_resembles_one_is_left(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize("name", ["prompt", "messages", "completion", "rows", "body"])
def test_what_people_wrote_is_taken_out(name: str) -> None:
    event = {"event": "row refused", "row": {name: [{"role": "user", "content": "my illness"}]}}

    assert Redactor()(None, "info", event)["row"] == {name: REDACTED}


def test_how_many_rows_there_are_may_be_said() -> None:
    assert Redactor()(None, "info", {"event": "read", "rows": 120})["rows"] == 120


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("postgresql://user:p/w@host/db", f"postgresql://user:{REDACTED}@host/db"),
        ("postgresql://user:pw@host/db", f"postgresql://user:{REDACTED}@host/db"),
        ("https://example.com:8000/v1", "https://example.com:8000/v1"),
        ("Authorization: Bearer abcdef012345", f"Authorization: Bearer {REDACTED}"),
        ("header basic dXNlcjpwdw==", f"header basic {REDACTED}"),
        ("GET /v1?api_key=abc&limit=2", f"GET /v1?api_key={REDACTED}&limit=2"),
        ("it read hf_abcdefghijklmnopqrstu", f"it read {REDACTED}"),
        ("[type=int, input_value='my illness', input_type=str]", f"[type=int, input_value={REDACTED}, input_type=str]"),
    ],
)
def test_credentials_are_known_by_the_form_in_which_they_travel(words: str, expected: str) -> None:
    assert Redactor().text(words) == expected


def test_a_secret_that_begins_like_another_leaves_no_tail() -> None:
    assert Redactor([KEY, f"{KEY}-two"]).text(f"{KEY}-two") == REDACTED


def test_a_very_short_secret_does_not_blot_out_the_words_around_it() -> None:
    redact = Redactor(["on"])

    assert (redact.text("on"), redact.text("done on time")) == (REDACTED, "done on time")


def test_a_line_of_a_private_key_is_as_secret_as_the_key() -> None:
    key = "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAo\n-----END-----"

    assert "MIIEvQ" not in Redactor([key]).text("cannot read 'MIIEvQIBADANBgkqhkiG9w0'")


def test_what_becomes_secret_later_is_taken_out_from_then_on() -> None:
    redact = Redactor()
    redact.conceal([KEY])

    assert redact.text(f"sent {KEY}") == f"sent {REDACTED}"


def test_an_object_that_cannot_describe_itself_does_not_lose_the_line() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert Redactor()(None, "info", {"event": "seen", "what": Broken()})["what"] == "<Broken>"
