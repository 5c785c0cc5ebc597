"""The full check of chat rows: every fault of a row, with the path to it. Rows of the plain kind never come here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ftorch.core.suggest import did_you_mean
from ftorch.data.parse import Json, Object
from ftorch.data.records import Message
from ftorch.data.report import Notes

_ROLES = ("system", "user", "assistant", "tool")
_OTHER_ROLES = {
    "ai": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "human": "user",
    "developer": "system",
    "function": "tool",
}
_MESSAGE_KEYS = ("role", "content", "name", "weight", "tool_calls", "tool_call_id")
_OTHER_KEYS = {
    "from": "role",
    "speaker": "role",
    "value": "content",
    "text": "content",
    "conversation": "messages",
    "conversations": "messages",
    "dialogue": "messages",
    "instruction": "prompt",
    "question": "prompt",
    "query": "prompt",
    "answer": "completion",
    "output": "completion",
    "response": "completion",
    "accepted": "chosen",
    "refused": "rejected",
}
"""How other tools call what we know under another name."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as it stands in a row: `key` is the path to it, `content_key` to its text."""

    key: str
    content_key: str
    message: Object

    @property
    def role(self) -> Json:
        return self.message.get("role")

    @property
    def is_trainable(self) -> bool:
        return self.role == "assistant" and not _is_false(self.message.get("weight"))


def turns_of(value: Json, key: str, role: str, notes: Notes) -> list[Turn]:
    """The messages of a field: a text is one message of `role`, a list holds messages."""
    if isinstance(value, str):
        return [Turn(key, key, {"role": role, "content": value})]
    if not isinstance(value, list):
        notes.add("D104", f"must be text or a list of messages, not {value!r:.40}", key=key)
        return []
    turns = []
    for index, message in enumerate(value):
        path = f"{key}[{index}]"
        if isinstance(message, dict):
            turns.append(Turn(path, f"{path}.content", message))
        else:
            notes.add("D101", f"a message is an object, not {message!r:.40}", key=path)
    return turns


def to_messages(turns: Sequence[Turn]) -> list[Message]:
    """The turns as they are written. Only for rows without an error."""
    return [Message(turn.message["role"], turn.message["content"]) for turn in turns]


def check_keys(row: Object, known: Collection[str], notes: Notes, key: str = "") -> None:
    """D102 for every key that the format does not know, with the key that was most likely meant."""
    for name in row:
        if name not in known:
            meant = _OTHER_KEYS.get(name)
            words = f" (did you mean {meant!r}?)" if meant in known else did_you_mean(name, known)
            path = f"{key}.{name}" if key else name
            notes.add("D102", f"not a key of this format{words}", key=path, hint="rename or remove it")


def check_each(turns: Sequence[Turn], answer: Turn | None, notes: Notes) -> None:
    """Every message by itself: keys, role, content, weight. `answer` is the one whose text is learned."""
    for turn in turns:
        check_keys(turn.message, _MESSAGE_KEYS, notes, turn.key)
        _check_role(turn, notes)
        _check_content(turn, notes, is_answer=turn is answer)
        _check_weight(turn, notes)


def check_end(turns: Sequence[Turn], notes: Notes) -> None:
    """D108, and D701 where the answer has weight 0."""
    last = turns[-1]
    if last.role != "assistant":
        notes.add("D108", f"the last message is from {last.role!r}, not 'assistant'", key=f"{last.key}.role")
    elif not last.is_trainable:
        notes.add("D701", "the answer has weight 0: nothing of this row is learned", key=f"{last.key}.weight")


def _check_role(turn: Turn, notes: Notes) -> None:
    if turn.role not in _ROLES:
        notes.add("D103", _role_words(turn.role), key=f"{turn.key}.role", hint=f"one of {', '.join(_ROLES)}")


def _role_words(role: Json) -> str:
    if not isinstance(role, str):
        return "missing" if role is None else f"must be text, not {role!r:.40}"
    meant = _OTHER_ROLES.get(role.lower())
    return f"{role!r} is not a role" + (f" (did you mean {meant!r}?)" if meant else did_you_mean(role, _ROLES))


def _check_content(turn: Turn, notes: Notes, *, is_answer: bool) -> None:
    content = turn.message.get("content")
    if isinstance(content, str):
        if content.strip() or turn.message.get("tool_calls"):
            return
        if is_answer:
            notes.add("D701", "the answer is blank: nothing of this row is learned", key=turn.content_key)
        else:
            notes.add("D105", "blank", key=turn.content_key)
    elif content is not None or not turn.message.get("tool_calls"):
        notes.add("D104", _content_words(turn.message), key=turn.content_key, hint="write the text as one string")


def _content_words(message: Object) -> str:
    match message:
        case {"content": None}:
            return "null, not text"
        case {"content": list()}:
            return "a list of parts, not text"
        case {"content": value}:
            return f"{value!r:.40}, not text"
        case _:
            return "missing"


def _check_weight(turn: Turn, notes: Notes) -> None:
    weight = turn.message.get("weight")
    if weight is None:
        return
    key = f"{turn.key}.weight"
    if turn.role != "assistant":
        notes.add("D110", f"weight on a message from {turn.role!r}", key=key, hint="only answers have a weight")
    elif isinstance(weight, bool) or weight not in (0, 1):
        notes.add("D110", f"{weight!r:.40} is not 0 or 1", key=key)


def check_order(turns: Sequence[Turn], notes: Notes) -> None:
    """D106, D107, D109: the roles, one after the other."""
    before: Json = None
    for index, turn in enumerate(turns):
        if turn.role == "system" and index:
            notes.add("D106", "a system message that is not the first", key=f"{turn.key}.role")
        elif turn.role == before and turn.role in ("user", "assistant"):
            notes.add("D107", f"two {turn.role!r} turns in a row", key=f"{turn.key}.role", hint="join them into one")
        before = turn.role
    if turns and not any(turn.role == "user" for turn in turns):
        notes.add("D109", "no message is from 'user'", key=turns[0].key.partition("[")[0])


def _is_false(weight: Json) -> bool:
    return isinstance(weight, int) and not weight
