"""The one Volume: files written, read, listed and removed. Version 2, so that a `sync` in a sandbox commits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import modal
from modal.types import FileEntryType

from ftorch.core.errors import ArtifactError, RunNotFoundError
from ftorch.core.files import translated
from ftorch.providers.artifacts import is_whole
from ftorch.providers.base import FileDigest
from ftorch.providers.modal.names import VOLUME, Mark
from ftorch.providers.modal.sdk import Sdk

_UPLOAD_S = 3600.0
_BLOCK_S = 120.0
"""A block of 8 MiB that has not come in this time is given up."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file on the Volume."""

    path: str
    size: int
    modified_at: datetime


class Files:
    """The Volume's files. Paths have no slash in front."""

    def __init__(self, sdk: Sdk, environment: str | None) -> None:
        self._sdk = sdk
        self._environment = environment
        self._volume: modal.Volume | None = None

    async def volume(self, client: modal.Client, *, create: bool = False) -> modal.Volume:
        """The Volume, looked up once."""
        if self._volume is None:
            volume = modal.Volume.from_name(
                VOLUME, environment_name=self._environment, create_if_missing=create, version=2, client=client
            )
            self._volume = await volume.hydrate.aio(client)
        return self._volume

    def write(self, contents: Mapping[str, Path | bytes], operation: str) -> None:
        """Write files, all or none; what Modal has of their content is not sent again."""

        async def call(client: modal.Client) -> None:
            volume = await self.volume(client, create=True)
            async with volume.batch_upload.aio(force=True) as batch:
                for path, content in contents.items():
                    batch.put_file(content if isinstance(content, Path) else BytesIO(content), f"/{path}")

        self._sdk.run(operation, call, deadline_s=_UPLOAD_S)

    def read(self, path: str, operation: str) -> str | None:
        """A small file as text; None where there is none."""

        async def call(client: modal.Client) -> bytes:
            volume = await self.volume(client)
            return b"".join([block async for block in volume.read_file.aio(path)])

        try:
            return self._sdk.run(operation, call).decode(errors="replace")
        except RunNotFoundError:
            return None

    def entries(self, folder: str, operation: str, *, recursive: bool = False) -> Sequence[Entry]:
        """The files in a folder; empty where there is no such folder."""

        async def call(client: modal.Client) -> list[Entry]:
            volume = await self.volume(client)
            found = await volume.listdir.aio(folder, recursive=recursive)
            return [
                Entry(one.path.strip("/"), one.size, datetime.fromtimestamp(one.mtime, UTC))
                for one in found
                if one.type is FileEntryType.FILE
            ]

        try:
            return self._sdk.run(operation, call)
        except RunNotFoundError:
            return ()

    def marks(self, folder: str, operation: str) -> Mapping[Mark, datetime]:
        """The marks in a folder, with their moments, oldest first."""
        found = [
            (entry.modified_at, mark) for entry in self.entries(folder, operation) if (mark := Mark.parse(entry.path))
        ]
        return {mark: at for at, mark in sorted(found, key=lambda one: (one[0], one[1].name))}

    def remove(self, path: str, operation: str) -> None:
        """Remove a file or a folder with all in it. Nothing happens where there is none."""

        async def call(client: modal.Client) -> None:
            await (await self.volume(client)).remove_file.aio(path, recursive=True)

        with suppress(RunNotFoundError):
            self._sdk.run(operation, call)

    def download(self, path: str, target: Path, digest: FileDigest, operation: str) -> None:
        """Bring a file home, or ArtifactError when it is not the one that the trainer wrote.

        Modal's client fills up a block that came short with zeros and says nothing, so only the hash is believed.
        """
        part = target.with_name(f".{target.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)

        async def call(client: modal.Client) -> None:
            volume = await self.volume(client)
            blocks = aiter(volume.read_file.aio(path))
            with translated(part), part.open("wb") as stream:
                while True:
                    try:
                        stream.write(await asyncio.wait_for(anext(blocks), _BLOCK_S))
                    except StopAsyncIteration:
                        return

        self._sdk.run(operation, call, deadline_s=_UPLOAD_S)
        if not is_whole(part, digest):
            part.unlink()
            raise ArtifactError(f"{target.name} is not the file that the trainer wrote: its length or SHA-256 differs")
        part.replace(target)
