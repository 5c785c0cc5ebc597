"""The law behind the speed: the fast path and the full check give the same rows and the same faults."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftorch.data.formats import MESSAGES, PROMPT_COMPLETION, Format
from ftorch.data.preference import PREFERENCES, PREFERRED_OUTPUTS
from ftorch.data.read import Reader, Source
from ftorch.data.report import Findings
from ftorch.data.scan import scan
from ftorch.data.tables import Table
from ftorch.manifest.schema import Columns
from unit.data.samples import assistant, chat, system, user

TEXTS = st.sampled_from(
    [
        "Hi",
        "Hello: you",
        " ",
        "",
        "\n",
        'say "x": y',
        "\\",
        '\\"',
        "role",
        "content",
        "é\u2028",
        "\x85",
        "a\ud83d\ude00",
    ]
) | st.text(max_size=8)
NOISE: st.SearchStrategy[Any] = st.sampled_from([None, 3, 1.5, True, [], {}, "", "user", "assistant", {"a": 1}])
MESSAGES_ROWS = st.lists(st.sampled_from([user, assistant]), min_size=1, max_size=5)


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    turns = draw(st.sampled_from([0, 1, 2, 3]))
    messages = [system(draw(TEXTS))] if draw(st.booleans()) else []
    for _ in range(turns):
        messages += [user(draw(TEXTS)), assistant(draw(TEXTS))]
    return chat(*messages)


@st.composite
def said(draw: st.DrawFn, role: str) -> Any:
    text = draw(TEXTS)
    return text if draw(st.booleans()) else [{"role": role, "content": text}]


COMPLETIONS = st.fixed_dictionaries({"prompt": said("user"), "completion": said("assistant")})
PREFERENCE_ROWS = st.fixed_dictionaries(
    {"prompt": said("user"), "chosen": said("assistant"), "rejected": said("assistant")}
)
PREFERRED_ROWS = st.fixed_dictionaries(
    {
        "input": st.fixed_dictionaries({"messages": said("user")}),
        "preferred_output": said("assistant"),
        "non_preferred_output": said("assistant"),
    }
)
TABLE_ROWS = st.fixed_dictionaries({"text": TEXTS, "label": TEXTS}, optional={"id": NOISE, "note": TEXTS})
KINDS: list[tuple[Format, st.SearchStrategy[dict[str, Any]]]] = [
    (MESSAGES, chats()),
    (PROMPT_COMPLETION, COMPLETIONS),
    (PREFERENCES, PREFERENCE_ROWS),
    (PREFERRED_OUTPUTS, PREFERRED_ROWS),
    (Table(Columns(label="label")), TABLE_ROWS),
    (MESSAGES, PREFERENCE_ROWS),
]
SPELLINGS: list[dict[str, Any]] = [
    {},
    {"separators": (",", ":")},
    {"ensure_ascii": False},
    {"indent": None, "separators": (" ,", " : ")},
]
BYTES = [
    b'"',
    b"\\",
    b":",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\xff",
    b"\r",
    b"\t",
    b" ",
    b"1",
    b"null",
    b"NaN",
    b"\\u0072",
]


@st.composite
def lines(draw: st.DrawFn, rows: st.SearchStrategy[dict[str, Any]]) -> bytes:
    """A row as some program might write it, most often with something wrong."""
    row = draw(rows)
    line = json.dumps(_mutated(draw, row), **draw(st.sampled_from(SPELLINGS))).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        line = _spoilt(draw, line)
    return line.replace(b"\n", b"")


def _mutated(draw: st.DrawFn, row: Any) -> Any:
    """One thing in a row changed, somewhere."""
    if draw(st.integers(0, 2)) == 0:
        return draw(NOISE) if draw(st.integers(0, 4)) == 0 else row
    if isinstance(row, dict) and row:
        key = draw(st.sampled_from(sorted(row)))
        match draw(st.integers(0, 4)):
            case 0:
                return {other: value for other, value in row.items() if other != key}
            case 1:
                return {**row, draw(st.sampled_from(["name", "weight", "tools", "extra", "tool_calls"])): draw(NOISE)}
            case 2 if "role" in row:
                return {**row, "role": draw(st.sampled_from(["system", "user", "assistant", "tool", "human"]))}
            case _:
                return {**row, key: _mutated(draw, row[key])}
    if isinstance(row, list) and row:
        index = draw(st.integers(0, len(row) - 1))
        return [*row[:index], _mutated(draw, row[index]), *row[index + draw(st.integers(0, 1)) :]]
    return row


def _spoilt(draw: st.DrawFn, line: bytes) -> bytes:
    """A few bytes cut out, put in or given twice: keys written twice come from the last."""
    start = draw(st.integers(0, len(line)))
    end = min(len(line), start + draw(st.integers(0, 30)))
    match draw(st.integers(0, 2)):
        case 0:
            return line[:start] + line[end:]
        case 1:
            return line[:start] + draw(st.sampled_from(BYTES)) + line[start:]
        case _:
            return _pair_twice(draw, line)


def _pair_twice(draw: st.DrawFn, line: bytes) -> bytes:
    commas = [index for index, byte in enumerate(line) if byte in b",}"]
    if not commas:
        return line
    at = draw(st.sampled_from(commas))
    pair = draw(
        st.sampled_from([b'"role": "user"', b'"content":"x"', b'"prompt":"a"', b'"label" : "b:"', b'"messages":[]'])
    )
    return line[:at] + b", " + pair + line[at:]


def verdict(content: bytes, form: Format, *, thorough: bool) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(content)
        findings = Findings("a.jsonl")
        rows = list(scan(Reader(Source(path, "a.jsonl", "dataset.path")), form, findings, thorough=thorough))
        return rows, findings.report()


def _agrees(form: Format, content: list[bytes]) -> None:
    file = b"\n".join(content)

    assert verdict(file, form, thorough=False) == verdict(file, form, thorough=True)


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_the_fast_path_and_the_full_check_agree(data: st.DataObject) -> None:
    form, rows = data.draw(st.sampled_from(KINDS))

    _agrees(form, data.draw(st.lists(lines(rows), min_size=1, max_size=4)))


def test_good_rows_take_the_fast_path() -> None:
    row = json.dumps(chat(system("s"), user('say "x": y'), assistant("b\n"))).encode()

    assert MESSAGES.quick(row) is not None
    assert PROMPT_COMPLETION.quick(b'{"prompt": "a: b", "completion": "\\"c\\""}') is not None
    assert PREFERENCES.quick(b'{"prompt": "a", "chosen": "b", "rejected": "c"}') is not None
    assert Table(Columns(label="label")).quick(b'{"text": "a", "label": "b", "id": 3}') is not None
