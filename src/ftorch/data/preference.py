"""The formats of preference rows: a prompt with a better and a worse answer, in three spellings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ftorch.data.chat import Turn, check_each, check_keys, to_messages
from ftorch.data.formats import Text, answer_of, check_pair, field_of, is_plain, quotes, said
from ftorch.data.parse import Json, Object, hides_pair
from ftorch.data.records import Kind, Message, Preference, Record
from ftorch.data.report import Notes
from ftorch.data.tools import check_tools
from ftorch.manifest.schema import DataFormat


class _PreferenceRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    prompt: Text
    chosen: Text
    rejected: Text


class _Input(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    messages: list[Message]


class _PreferredRow(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    input: _Input
    preferred_output: list[Message]
    non_preferred_output: list[Message]


_decode_preference = msgspec.json.Decoder(_PreferenceRow).decode
_decode_preferred = msgspec.json.Decoder(_PreferredRow).decode


class Preferences:
    """`{"prompt", "chosen", "rejected"}` as TRL has it: texts, or lists of messages."""

    name = DataFormat.PREFERENCE
    kind = Kind.PREFERENCE
    answer_key = "chosen"

    def quick(self, line: bytes) -> Record | None:
        row = _decode_preference(line)
        if hides_pair(line, sum(map(quotes, (row.prompt, row.chosen, row.rejected)))):
            return None
        return _plain(said(row.prompt, "user"), said(row.chosen, "assistant"), said(row.rejected, "assistant"))

    def full(self, row: Object, notes: Notes) -> Record | None:
        if "preferred_output" in row or "non_preferred_output" in row:
            return PREFERRED_OUTPUTS.full(row, notes)
        check_keys(row, ("prompt", "chosen", "rejected", "tools"), notes)
        check_tools(row.get("tools"), notes)
        if "prompt" not in row and _hides_prompt(row, notes):
            return None
        prompt = field_of(row, "prompt", "user", notes)
        return _record(prompt, answer_of(row, "chosen", notes), answer_of(row, "rejected", notes), notes)


class PreferredOutputs:
    """`{"input": {"messages"}, "preferred_output", "non_preferred_output"}` as Together and OpenAI have it."""

    name = DataFormat.PREFERENCE
    kind = Kind.PREFERENCE
    answer_key = "preferred_output"

    def quick(self, line: bytes) -> Record | None:
        row = _decode_preferred(line)
        fields = (row.input.messages, row.preferred_output, row.non_preferred_output)
        return None if hides_pair(line, 2 + sum(map(quotes, fields))) else _plain(*fields)

    def full(self, row: Object, notes: Notes) -> Record | None:
        if "chosen" in row or "rejected" in row:
            return PREFERENCES.full(row, notes)
        check_keys(row, ("input", "preferred_output", "non_preferred_output"), notes)
        asked = row.get("input", {})
        if not isinstance(asked, dict):
            notes.add("D201", f"must be an object with messages, not {asked!r:.40}", key="input")
            return None
        check_keys(asked, ("messages", "tools", "parallel_tool_calls"), notes, "input")
        check_tools(asked.get("tools"), notes, "input.tools")
        prompt = field_of(asked, "messages", "user", notes, path="input.messages")
        chosen, rejected = (answer_of(row, key, notes) for key in ("preferred_output", "non_preferred_output"))
        return _record(prompt, chosen, rejected, notes)


PREFERENCES = Preferences()
PREFERRED_OUTPUTS = PreferredOutputs()


def _plain(prompt: Sequence[Message], chosen: Sequence[Message], rejected: Sequence[Message]) -> Record | None:
    if len(chosen) != 1 or len(rejected) != 1:
        return None
    if not is_plain([*prompt, *chosen]) or not is_plain([*prompt, *rejected]):
        return None
    if chosen[0].content.strip() == rejected[0].content.strip():
        return None
    return Preference(prompt, chosen, rejected)


def _record(prompt: Sequence[Turn], chosen: Sequence[Turn], rejected: Sequence[Turn], notes: Notes) -> Record | None:
    check_pair(prompt, chosen, notes)
    check_each(rejected, rejected[-1] if rejected else None, notes)
    _check_answers(chosen, rejected, notes)
    if notes.has_errors:
        return None
    return Preference(to_messages(prompt), to_messages(chosen), to_messages(rejected))


def _check_answers(chosen: Sequence[Turn], rejected: Sequence[Turn], notes: Notes) -> None:
    """D202 and D203."""
    if not chosen or not rejected:
        return
    if [turn.message for turn in chosen[:-1]] != [turn.message for turn in rejected[:-1]]:
        notes.add("D203", "chosen and rejected begin with different prompts", key=rejected[0].key)
    if _text(chosen[-1]) == _text(rejected[-1]):
        notes.add("D202", "the chosen and the rejected answer are the same", key=rejected[-1].content_key)


def _text(turn: Turn) -> Json:
    content = turn.message.get("content")
    return content.strip() if isinstance(content, str) else content


def _hides_prompt(row: Object, notes: Notes) -> bool:
    """D207 where both answers are whole conversations and the prompt is what they share."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not (isinstance(chosen, list) and isinstance(rejected, list) and len(chosen) > 1 and len(rejected) > 1):
        return False
    notes.add("D207", "no prompt: it seems to be inside both answers", hint="write the shared messages as 'prompt'")
    if chosen[:-1] != rejected[:-1]:
        notes.add("D203", "chosen and rejected begin with different prompts", key="rejected")
    return True
