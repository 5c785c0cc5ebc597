"""Tool calls in chat rows. They are checked to the end although no row with tools is trained yet: one fault at a time
would send people round in circles."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ftorch.data.chat import Turn
from ftorch.data.parse import Json
from ftorch.data.report import Notes


def check_calls(turns: Sequence[Turn], notes: Notes) -> None:
    """D111, D112 and D117 for the messages of a row."""
    for turn in turns:
        _check_calls(turn, notes)
    _check_tool_answers(turns, notes)


def check_tools(tools: Json, notes: Notes, key: str = "tools") -> None:
    """D113 for each tool that cannot be read; D117 where all can."""
    if tools is None:
        return
    if not isinstance(tools, list):
        notes.add("D113", f"must be a list of tools, not {tools!r:.40}", key=key)
        return
    for index, tool in enumerate(tools):
        if reason := _tool_fault(tool):
            notes.add("D113", reason, key=f"{key}[{index}]")
    if tools:
        _note_untrained(key, notes)


def _check_calls(turn: Turn, notes: Notes) -> None:
    """D112 for arguments that no program can read, D117 for every use of tools."""
    calls = turn.message.get("tool_calls")
    if calls is None:
        if turn.role == "tool":
            _note_untrained(turn.key, notes)
        return
    _note_untrained(f"{turn.key}.tool_calls", notes)
    for index, call in enumerate(calls if isinstance(calls, list) else [calls]):
        key = f"{turn.key}.tool_calls[{index}].function.arguments"
        function = call.get("function") if isinstance(call, dict) else None
        if not _is_json(function.get("arguments") if isinstance(function, dict) else None):
            notes.add("D112", "the arguments of a call are a string of JSON", key=key)


def _check_tool_answers(turns: Sequence[Turn], notes: Notes) -> None:
    """D111: what a tool answers belongs to a call made before."""
    called: set[str] = set()
    for turn in turns:
        calls = turn.message.get("tool_calls")
        called |= (
            {str(call.get("id")) for call in calls if isinstance(call, dict)} if isinstance(calls, list) else set()
        )
        asked = turn.message.get("tool_call_id")
        if turn.role == "tool" and asked not in called:
            words = "missing" if asked is None else f"no message before calls {asked!r:.40}"
            notes.add("D111", words, key=f"{turn.key}.tool_call_id")


def _note_untrained(key: str, notes: Notes) -> None:
    notes.add(
        "D117", "tool calls are not trained yet", key=key, hint="leave these rows out, or write the calls as text"
    )


def _tool_fault(tool: Json) -> str | None:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        return "a tool is {type: function, function: {name, parameters}}"
    if not isinstance(function.get("name"), str):
        return "function.name is missing or no text"
    if not isinstance(function.get("parameters", {}), dict):
        return "function.parameters is a JSON schema object"
    return None


def _is_json(text: Json) -> bool:
    if not isinstance(text, str):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
