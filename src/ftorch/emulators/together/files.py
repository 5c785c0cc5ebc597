"""Uploaded files: declared, received, and checked by the service in its own time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from ftorch.core.clock import Clock
from ftorch.emulators.server import RefusedError
from ftorch.emulators.together.answers import ProcessingStatus
from ftorch.emulators.together.rules import Checked, InvalidFileError, check
from ftorch.emulators.together.schemas import FileDeclaration

CHECK_S = 2.0


@dataclass(slots=True)
class StoredFile:
    """One file of an organisation. `verdict` is known once it was handed over, and told once it was "checked"."""

    id: str
    organisation: str
    declared: FileDeclaration
    created_at: datetime
    content: bytes | None = field(default=None, repr=False)
    submitted_at: datetime | None = None
    verdict: Checked | InvalidFileError | None = None

    @property
    def is_trained_on(self) -> bool:
        """Files for other purposes are not checked."""
        return self.declared.purpose == "fine-tune"


class FileStore:
    """All files. A file is there for good once it was handed over with `submit`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.check_s = CHECK_S
        """How long the check of a file takes."""
        self.received: Counter[str] = Counter()
        self._files: dict[str, StoredFile] = {}

    def same(self, organisation: str, checksum: str) -> StoredFile | None:
        """The file with this content, if it was uploaded whole: one that was only declared may be sent again."""
        return next((file for file in self.of(organisation) if file.declared.checksum == checksum), None)

    def declare(self, organisation: str, declared: FileDeclaration) -> StoredFile:
        if declared.file_type == "parquet":
            raise RefusedError(501, "not_emulated", "this emulator reads no Parquet; upload JSONL")
        file = StoredFile(f"file-{uuid4()}", organisation, declared, self._clock.now())
        self._files[file.id] = file
        return file

    def receive(self, file_id: str, content: bytes) -> None:
        """Content for a declared file, which nobody has checked yet. Sent twice, the second one counts."""
        file = self._files.get(file_id)
        if file is None or file.submitted_at:
            raise RefusedError(403, "access_denied", "Request has expired")
        file.content = content
        self.received[file.declared.checksum] += 1

    def submit(self, organisation: str, file_id: str) -> StoredFile:
        """Take the file over and begin its check. Again: nothing changes."""
        file = self._files.get(file_id)
        if file is None or file.organisation != organisation:
            raise _unknown(file_id)
        if file.content is None:
            raise RefusedError(400, "invalid_request", f"File {file_id} has not been uploaded")
        file.submitted_at = file.submitted_at or self._clock.now()
        file.verdict = file.verdict or _verdict(file)
        return file

    def keep(self, organisation: str, content: bytes) -> StoredFile:
        """A file that was uploaded and checked long ago. For tests."""
        checksum = hashlib.sha256(content).hexdigest()
        if existing := self.same(organisation, checksum):
            return existing
        declared = FileDeclaration(purpose="fine-tune", file_name="kept.jsonl", file_type="jsonl", checksum=checksum)
        file = self.declare(organisation, declared)
        file.content = content
        self.submit(organisation, file.id).submitted_at = self._clock.now() - timedelta(days=1)
        return file

    def get(self, organisation: str, file_id: str) -> StoredFile:
        file = self._files.get(file_id)
        if file is None or file.organisation != organisation or file.submitted_at is None:
            raise _unknown(file_id)
        return file

    def of(self, organisation: str) -> Iterator[StoredFile]:
        return (file for file in self._files.values() if file.organisation == organisation and file.submitted_at)

    def delete(self, organisation: str, file_id: str) -> None:
        del self._files[self.get(organisation, file_id).id]

    def status(self, file: StoredFile) -> ProcessingStatus | None:
        """Where its check is; None for files that nobody checks."""
        if not file.is_trained_on or file.submitted_at is None:
            return None
        passed = (self._clock.now() - file.submitted_at) / timedelta(seconds=self.check_s or 1e-6)
        if passed < 1:
            return "QUEUED" if passed < 0.5 else "RUNNING"
        if isinstance(file.verdict, Checked):
            return "COMPLETED"
        return "INVALID_FORMAT" if isinstance(file.verdict, InvalidFileError) else "FAILED"

    def checked(self, organisation: str, file_id: str) -> Checked:
        """The rows of a file that has passed. Raises RefusedError for any other."""
        file = self.get(organisation, file_id)
        status = self.status(file)
        if status == "COMPLETED" and isinstance(file.verdict, Checked):
            return file.verdict
        words = f"File {file_id} is not ready: its processing status is {status}"
        if isinstance(file.verdict, InvalidFileError) and status == "INVALID_FORMAT":
            words = f"File {file_id} is invalid: {file.verdict}"
        raise RefusedError(400, "invalid_request", words)


def _verdict(file: StoredFile) -> Checked | InvalidFileError | None:
    """None: what arrived is not what was declared, and the check fails for no reason that a user could mend."""
    content = file.content or b""
    if not file.is_trained_on or hashlib.sha256(content).hexdigest() != file.declared.checksum:
        return None
    try:
        return check(content)
    except InvalidFileError as error:
        return error


def _unknown(file_id: str) -> RefusedError:
    return RefusedError(404, "not_found", f"File {file_id} not found")
