"""Reading a manifest: YAML with the line of every key, then the schema, then every finding at its line."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ftorch.core.errors import Fault, ManifestError
from ftorch.core.suggest import did_you_mean
from ftorch.manifest.faults import Where, dotted, faults_of
from ftorch.manifest.schema import Manifest

_LARGEST = 1 << 20
_MOST_NODES = 20_000
_DEEPEST = 30
_KNOWN_PROVIDERS = ("local", "ssh", "ray", "together", "modal", "lambda", "anyscale")


@dataclass(slots=True)
class _Document:
    """What the nodes were turned into, with the line of every path."""

    file: str
    lines: dict[Where, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    nodes: int = 0

    def line_of(self, where: Where) -> int | None:
        """The line of a path; for a key that is not there, that of the block it is missing from."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def load_manifest(path: Path) -> Manifest:
    """Read a manifest file. Raises ManifestError with every fault: file, line, key and what to do."""
    file = str(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ManifestError(
            [Fault("there is no such file", file=file, hint="run `ftorch init` to write one")]
        ) from error
    except OSError as error:
        raise ManifestError([Fault(f"cannot be read: {error.strerror}", file=file)]) from error
    return parse_manifest(_text(content, file), file).read_from(path)


def parse_manifest(text: str, file: str) -> Manifest:
    """Read a manifest's text. `file` is only named in faults."""
    document = _Document(file)
    node = _compose(text, file)
    value = _value(node, (), document)
    if not isinstance(value, dict):
        raise ManifestError([Fault("a manifest is a block of keys", file=file, line=1, hint="run `ftorch init`")])
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        document.faults += faults_of(error, Manifest, file, document.line_of)
        manifest = None
    if manifest is not None:
        document.faults += _provider_faults(manifest, document)
    if document.faults or manifest is None:
        raise ManifestError(sorted(document.faults, key=lambda fault: fault.line or 0))
    return manifest


def _text(content: bytes, file: str) -> str:
    if len(content) > _LARGEST:
        raise ManifestError([Fault(f"has {len(content)} bytes; a manifest has at most {_LARGEST}", file=file)])
    if content.startswith(b"\xef\xbb\xbf"):
        raise ManifestError([Fault("starts with a byte order mark; save it as UTF-8 without BOM", file=file, line=1)])
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError([Fault("is not UTF-8", file=file, line=line)]) from error
    if not text.strip():
        raise ManifestError([Fault("is empty", file=file, line=1, hint="run `ftorch init` to write one")])
    return text


def _compose(text: str, file: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(part for part in (error.context, error.problem) if part)
        raise ManifestError([Fault(f"is not YAML: {words}", file=file, line=mark.line + 1 if mark else 1)]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError([Fault(f"is not YAML: {error}", file=file, line=1)]) from error
    if node is None:
        raise ManifestError([Fault("holds no keys", file=file, line=1, hint="run `ftorch init` to write one")])
    return node


def _value(node: yaml.Node, where: Where, document: _Document) -> Any:
    """The node as a value. Keys are noted with their lines, duplicates are faults, text stays as it was written."""
    document.nodes += 1
    if document.nodes > _MOST_NODES:
        raise ManifestError([Fault(f"has more than {_MOST_NODES} values", file=document.file, line=1)])
    if len(where) > _DEEPEST:
        # An alias inside its own anchor never ends.
        raise ManifestError([Fault("nests too deeply", document.file, document.line_of(where))])
    document.lines.setdefault(where, node.start_mark.line + 1)
    match node:
        case yaml.MappingNode():
            return _mapping(node, where, document)
        case yaml.SequenceNode():
            return [_value(inner, (*where, number), document) for number, inner in enumerate(node.value)]
        case yaml.ScalarNode():
            return _scalar(node, where, document)
        case _:
            raise ManifestError([Fault("holds a value that cannot be read", file=document.file)])


def _mapping(node: yaml.MappingNode, where: Where, document: _Document) -> dict[Any, Any]:
    found: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        # The scalar's own text: YAML would read a key `on` as true.
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
        line = key_node.start_mark.line + 1
        path = (*where, key)
        if key in found:
            first = document.lines[path]
            document.faults.append(Fault(f"is given twice, first on line {first}", document.file, line, dotted(path)))
            continue
        document.lines[path] = line
        found[key] = _value(value_node, path, document)
    return found


def _scalar(node: yaml.ScalarNode, where: Where, document: _Document) -> Any:
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        line = node.start_mark.line + 1
        document.faults.append(Fault(f"cannot be read: {error}", document.file, line, dotted(where)))
        return None
    # A date or a float that was meant as text must not lose its spelling; money without a currency neither.
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return node.value


def _provider_faults(manifest: Manifest, document: _Document) -> list[Fault]:
    return [
        Fault(
            f"not a known key or provider{did_you_mean(name, ['name', *_KNOWN_PROVIDERS])}",
            document.file,
            document.line_of(("provider", name)),
            f"provider.{name}",
        )
        for name in manifest.provider.options
        if name not in (*_KNOWN_PROVIDERS, *manifest.provider.names)
    ]
