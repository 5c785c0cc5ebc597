"""What was staged: the files of the organisation. The hash of the rows that they were made from is in ours' names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from ftorch.core.errors import RunNotFoundError
from ftorch.providers.base import StagedContent
from ftorch.providers.http import Http
from ftorch.providers.together import api

_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def name_of(plan_name: str, sha256: str, file: str) -> str:
    """What a file of a bundle is called at Together."""
    return f"{plan_name}-{sha256}-{file}"


def listed(http: Http, now: datetime) -> Iterator[StagedContent]:
    """All files, whatever they are for. One whose age Together does not tell counts as new."""
    for file in api.files(http):
        made_from = _SHA256.search(file.filename)
        sha256 = made_from[0] if made_from else None
        yield StagedContent(file.id, file.filename, file.created_at or now, file.bytes, sha256)


def discard(http: Http, content: StagedContent) -> None:
    """Delete a file; one that is gone, or another organisation's, is left alone."""
    with suppress(RunNotFoundError):
        api.delete_file(http, content.id)
