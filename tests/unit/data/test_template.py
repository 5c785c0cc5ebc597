"""Templates are rendered as transformers renders them, without transformers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftorch.data.records import Message
from ftorch.data.template import RefusedError, load_tokenizer
from unit.data.conftest import CHATML, MakeBase

TALK = [Message("system", "Be brief"), Message("user", "Où?"), Message("assistant", "Here\n")]


def test_counts_are_those_of_transformers(make_base: MakeBase) -> None:
    from transformers import AutoTokenizer

    folder = make_base(bos_token="<s>", eos_token="</s>")
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)

    assert ours is not None
    for messages, asks in ((TALK, False), (TALK[:2], True), (TALK[1:2], False)):
        said = [{"role": message.role, "content": message.content} for message in messages]
        ids = theirs.apply_chat_template(said, tokenize=True, add_generation_prompt=asks, return_dict=True)["input_ids"]
        assert ours.count(messages, asks=asks) == len(ids)


def test_the_template_may_lie_in_a_file_of_its_own(make_base: MakeBase) -> None:
    folder = make_base("never read")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")

    assert _count(folder, "abc") == 3


def test_of_several_templates_the_default_is_taken(make_base: MakeBase) -> None:
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ messages[0].content }}!"}]

    assert _count(make_base(None, chat_template=named), "abc") == 4


def test_special_tokens_are_known_in_both_spellings(make_base: MakeBase) -> None:
    folder = make_base("{{ bos_token }}{{ eos_token }}", bos_token={"content": "<s>"}, eos_token="</s>")

    assert _count(folder, "abc") == len("<s></s>")


def test_templates_may_use_what_transformers_gives_them(make_base: MakeBase) -> None:
    template = (
        "{% for message in messages %}{% if loop.first %}{% continue %}{% endif %}{% endfor %}"
        "{{ messages | tojson | length > 0 }}{{ strftime_now('%Y') }}{{ tools is none }}{{ enable_thinking }}"
    )

    assert _count(make_base(template), "abc") == len("True2026TrueFalse")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('System role not supported') }}", "System role not supported"),
        ("{{ messages.append(1) }}", "is unsafe"),
        ("{{ missing.key }}", "'missing' is undefined"),
    ],
)
def test_a_template_that_refuses_says_why(template: str, words: str, make_base: MakeBase) -> None:
    with pytest.raises(RefusedError, match=words):
        _count(make_base(template), "abc")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_without_tokenizer_or_template_there_is_nothing_to_count_with(name: str, make_base: MakeBase) -> None:
    folder = make_base(CHATML)
    (folder / name).unlink()

    assert load_tokenizer(folder) is None
    assert load_tokenizer(None) is None


def _count(folder: Path, text: str) -> int:
    tokenizer = load_tokenizer(folder)
    assert tokenizer is not None
    return tokenizer.count([Message("user", text)])
