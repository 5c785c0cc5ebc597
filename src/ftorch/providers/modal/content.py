"""What was staged: bundles on the Volume, each in a folder named by its content."""

from __future__ import annotations

from collections.abc import Iterator

from ftorch.providers.base import StagedContent
from ftorch.providers.modal.names import BUNDLES
from ftorch.providers.modal.volume import Entry, Files


def listed(files: Files) -> Iterator[StagedContent]:
    """All bundles, each once, with what its files weigh together."""
    folders: dict[str, list[Entry]] = {}
    for entry in files.entries(BUNDLES, "staged_content", recursive=True):
        folder, *rest = entry.path.removeprefix(f"{BUNDLES}/").split("/")
        if rest:
            folders.setdefault(folder, []).append(entry)
    for sha256, entries in folders.items():
        created_at = min(entry.modified_at for entry in entries)
        size = sum(entry.size for entry in entries)
        yield StagedContent(f"{BUNDLES}/{sha256}", sha256, created_at, size, sha256)


def discard(files: Files, content: StagedContent) -> None:
    """Delete a bundle; nothing else is ever deleted this way."""
    if content.id.startswith(f"{BUNDLES}/") and ".." not in content.id:
        files.remove(content.id, "discard")
