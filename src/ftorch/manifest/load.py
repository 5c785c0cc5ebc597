"""Reading a manifest: YAML with the line of every key, then the schema, then every finding at its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ValidationError

from ftorch.core.errors import Fault, ManifestError
from ftorch.core.suggest import did_you_mean
from ftorch.manifest.credentials import PROVIDER_VARIABLES
from ftorch.manifest.faults import Where, allowed_at, dotted, faults_of
from ftorch.manifest.foreign import unknown_key
from ftorch.manifest.schema import Dpo, Manifest, Sft

_LARGEST = 1 << 20
_MOST_NODES = 10_000
_DEEPEST = 30
_INIT = "run `ftorch init` to write one"
_METHOD_KEYS = {"sft": set(Sft.model_fields), "dpo": set(Dpo.model_fields)}

_YAML = "tag:yaml.org,2002:"
_WORD = "tag:ftorch:word"
_PLAIN: Mapping[str, str] = {
    f"{_YAML}null": r"~|null|Null|NULL|",
    f"{_YAML}bool": r"true|True|TRUE|false|False|FALSE",
    f"{_YAML}int": r"[-+]?(?:0|[1-9][0-9]*)",
    f"{_YAML}float": r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?",
    _WORD: r"(?i:yes|no|on|off)",
}
"""What text without quotes stands for: only what YAML 1.1 and 1.2 agree on, so `010`, `1:30` and dates stay text."""

_SLIPS: tuple[tuple[str, str, bool], ...] = (
    (r"found character '\t'", "a tab stands where only spaces may", False),
    ("mapping values are not allowed", "a second colon on this line, or a wrong indent; put text in quotes", False),
    ("found another document", "a second document begins; a file holds one manifest", False),
    ("a quoted scalar found unexpected end", "the quote that opens here is never closed", True),
    ("while parsing a flow", "a bracket that opens here is not closed, or a comma is missing", True),
    ("could not find expected ':'", "a key without its colon", True),
)
"""What PyYAML says, what we say, and whether the line is where the thing begins."""


_HALF_PAIR = re.compile("[\ud800-\udfff]")
"""What an escape such as "\\ud800" makes; neither JSON nor a terminal can hold it."""


class _Written(float):
    """A number that shows itself as it was written: `25.00`, not `25.0`."""

    text: str

    def __new__(cls, text: str) -> Self:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text


_SCALARS: Mapping[str, Callable[[str], object]] = {
    f"{_YAML}str": str,
    f"{_YAML}null": lambda _: None,
    f"{_YAML}bool": lambda text: {"true": True, "false": False}[text.lower()],
    f"{_YAML}int": int,
    f"{_YAML}float": _Written,
}


class _Loader(yaml.SafeLoader):
    """Composes nodes, only so many of them; plain text has the meanings of `_PLAIN`."""

    yaml_implicit_resolvers = {None: [(tag, re.compile(rf"(?:{text})\Z")) for tag, text in _PLAIN.items()]}
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise ValueError(f"it has more than {_MOST_NODES} values")
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and _HALF_PAIR.search(node.value):
            raise yaml.MarkedYAMLError(problem="half of a surrogate pair is no character", problem_mark=node.start_mark)
        return node


@dataclass(slots=True)
class _Document:
    """What the nodes were turned into, with the line of every path."""

    file: str
    lines: dict[Where, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    """Keys that could not be read: what else is wrong with them is no news."""
    values: int = 0

    def line_of(self, where: Where) -> int | None:
        """The line of a path; for a key that is not there, that of the block it is missing from."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def add(self, message: str, where: Where, line: int | None = None) -> None:
        if dotted(where) not in self.unread:
            self.faults.append(Fault(message, self.file, line or self.line_of(where), dotted(where) or None))

    def add_unread(self, message: str, where: Where) -> None:
        self.add(message, where)
        self.unread.add(dotted(where))

    def error(self) -> ManifestError:
        return ManifestError(sorted(self.faults, key=lambda fault: fault.line or 0))


def load_manifest(path: Path) -> Manifest:
    """Read a manifest file. Raises ManifestError with every fault: file, line, key and what to do."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise ManifestError([Fault("there is no such file", file=file, hint=_INIT)]) from error
    except (OSError, ValueError) as error:
        raise ManifestError([Fault(f"cannot be read: {getattr(error, 'strerror', error)}", file=file)]) from error
    return parse_manifest(_text(content, file), file).read_from(path)


def parse_manifest(text: str, file: str) -> Manifest:
    """Read a manifest's text. `file` is only named in faults."""
    if not text.strip():
        raise ManifestError([Fault("is empty", file, 1, hint=_INIT)])
    document = _Document(file)
    value = _value(_compose(text, file), (), document)
    if not isinstance(value, dict):
        raise ManifestError([Fault("a manifest is a block of keys", file, document.line_of(()), hint=_INIT)])
    _check_provider_keys(value.get("provider"), document)
    _check_method_keys(value.get("method"), document)
    take_out_unknown_keys(Manifest, value, document.add)
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        found = faults_of(error, Manifest, file, document.line_of)
        document.faults += [fault for fault in found if fault.key not in document.unread]
        raise document.error() from error
    if document.faults:
        raise document.error()
    return manifest


def _text(content: bytes, file: str) -> str:
    if len(content) > _LARGEST:
        raise ManifestError([Fault(f"is longer than a manifest may be, {_LARGEST} bytes", file=file)])
    if content.startswith(b"\xef\xbb\xbf"):
        raise ManifestError([Fault("starts with a byte order mark; save it as UTF-8 without BOM", file=file, line=1)])
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError([Fault("is not UTF-8", file=file, line=line)]) from error


def _compose(text: str, file: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ManifestError([_slip(error, file)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ManifestError([Fault(f"holds the control character #x{error.character:04x}", file, line)]) from error
    except (ValueError, OverflowError, RecursionError) as error:
        # PyYAML hands an escape such as "\UFFFFFFFF" to `chr`, and calls itself for every bracket.
        raise ManifestError([Fault(f"cannot be read as YAML: {error}", file, 1)]) from error
    if node is None:
        raise ManifestError([Fault("holds no keys", file, 1, hint=_INIT)])
    return node


def _slip(error: yaml.MarkedYAMLError, file: str) -> Fault:
    """The slip in plain words, where it is a common one, at the line where it can be mended."""
    words = " ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    for fragment, plain, is_at_beginning in _SLIPS:
        if fragment in words:
            words, mark = plain, (error.context_mark or mark) if is_at_beginning else mark
    return Fault(f"cannot be read as YAML: {words}", file, mark.line + 1 if mark else 1)


def _value(node: yaml.Node, where: Where, document: _Document) -> Any:
    """The node as a value. Keys are noted with their lines, duplicates are faults, text stays as it was written."""
    document.values += 1
    if document.values > _MOST_NODES:
        raise ManifestError([Fault(f"has more than {_MOST_NODES} values, aliases included", document.file, 1)])
    if len(where) > _DEEPEST:
        # An alias inside its own anchor never ends.
        raise ManifestError([Fault("nests too deeply", document.file, document.line_of(where))])
    document.lines.setdefault(where, node.start_mark.line + 1)
    match node:
        case yaml.MappingNode():
            return _mapping(node, where, document)
        case yaml.SequenceNode():
            return [_value(inner, (*where, number), document) for number, inner in enumerate(node.value)]
        case _:
            return _scalar(node, where, document)


def _mapping(node: yaml.MappingNode, where: Where, document: _Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.add("holds a key that is not plain text", where, line)
            continue
        # The scalar's own text: YAML 1.1 would read a key `on` as true.
        key, path = key_node.value, (*where, key_node.value)
        if key in found:
            document.add(f"is given twice, first on line {document.lines[path]}", path, line)
            continue
        document.lines[path] = line
        found[key] = _value(value_node, path, document)
        if key_node.tag == _WORD:
            document.add_unread(f'YAML may read this key as true or false; write "{key}" in quotes', path)
    return found


def _scalar(node: yaml.Node, where: Where, document: _Document) -> object:
    text, kind = str(node.value), node.tag.removeprefix(_YAML)
    if node.tag == _WORD:
        meant = "true" if text.lower() in ("yes", "on") else "false"
        document.add_unread(f'YAML may read {text} as {meant}; write {meant}, or "{text}" in quotes', where)
        return text
    if node.tag not in _SCALARS:
        document.add_unread(f"the tag {kind!r} means nothing in a manifest", where)
        return text
    try:
        return _SCALARS[node.tag](text)
    except (ValueError, KeyError):
        document.add_unread(f"cannot be read as {kind}: {text[:40]!r}", where)
        return text


def take_out_unknown_keys(
    model: type[BaseModel], value: Any, report: Callable[[str, Where], object], where: Where = ()
) -> None:
    """Keys that no block of the schema has never reach it: among its own names for types, a key can look like one."""
    if isinstance(value, list):
        for number, inner in enumerate(value):
            take_out_unknown_keys(model, inner, report, (*where, number))
    # A block without keys of its own, such as `labels`, is free; that of `provider` has been checked already.
    allowed = allowed_at(model, where) if isinstance(value, dict) and where != ("provider",) else []
    for key in list(value) if isinstance(value, dict) else []:
        if allowed and key not in allowed:
            del value[key]
            report(unknown_key(key, allowed), (*where, key))
        else:
            take_out_unknown_keys(model, value[key], report, (*where, key))


def _check_provider_keys(block: Any, document: _Document) -> None:
    """Beside `name` stand blocks of options, one per provider. What is neither is reported and taken out."""
    if not isinstance(block, dict):
        return
    names = block.get("name")
    chosen = [name for name in (names if isinstance(names, list) else [names]) if isinstance(name, str)]
    known = ["name", *PROVIDER_VARIABLES, *chosen]
    for key in [key for key in block if key != "name"]:
        if key not in known:
            document.add(f"not a known key or provider{did_you_mean(key, known)}", ("provider", key))
            del block[key]
        elif not isinstance(block[key], dict):
            document.add(f"must be a block of options, not {block.pop(key)!r}", ("provider", key))


def _check_method_keys(block: Any, document: _Document) -> None:
    """A key of the other method is no misspelling: it is reported as what it is, and taken out."""
    if not isinstance(block, dict) or block.get("type") not in ("sft", "dpo"):
        return
    kind, other = ("sft", "dpo") if block["type"] == "sft" else ("dpo", "sft")
    for key in sorted(_METHOD_KEYS[other] - _METHOD_KEYS[kind]):
        if key in block:
            del block[key]
            document.add(f"is a key of {other}, and this is {kind}", ("method", key))
