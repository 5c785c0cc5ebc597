from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.normalise import normalise
from ftorch.data.fingerprint import answer_print, fingerprint, to_hex
from ftorch.data.records import Completion, Message


def asked(*texts: str) -> int:
    return fingerprint([Message("user", text) for text in texts])


@pytest.mark.parametrize(
    "other",
    [
        "where is my card?",
        "Where  is\tmy\r\ncard",
        " Where is my card!? ",
        "\u201cWhere is my card?\u201d",
        "\uff37\uff48\uff45\uff52\uff45 is my card\uff1f",
        "WHERE\u00a0IS MY CARD",
    ],
)
def test_what_a_reader_takes_for_the_same_prompt_is_the_same(other: str) -> None:
    assert asked(other) == asked("Where is my card?")


@pytest.mark.parametrize("other", ["Where is my car?", "Whereis my card?", "Where is: my card?", "-Where is my card?"])
def test_another_prompt_is_another(other: str) -> None:
    assert asked(other) != asked("Where is my card?")


def test_the_system_message_does_not_count() -> None:
    assert fingerprint([Message("system", "Be brief"), Message("user", "Hi")]) == asked("Hi")


def test_who_said_what_counts() -> None:
    said = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]

    assert fingerprint(said) != asked("a", "b", "c")
    assert fingerprint(said) != asked("a b c")


def test_a_text_of_marks_alone_is_not_the_empty_text() -> None:
    assert len({normalise(text) for text in ("?", "!", "...", "\u2026?", "\u00bf")}) == 5


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert to_hex(asked("Where is my card?")) == "38dcbf15a00d9e4d"


def test_answers_count_with_their_marks_forgiven() -> None:
    one, other, third = (
        Completion([Message("user", "a")], [Message("assistant", text)]) for text in ("Yes", "yes.", "No")
    )

    assert answer_print(one) == answer_print(other) != answer_print(third)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_normalised_as_every_text_is(text: str) -> None:
    collapsed = " ".join(text.casefold().split())

    assert normalise(text).decode() == (collapsed.strip(" .,:;!?\"'`") or collapsed)
