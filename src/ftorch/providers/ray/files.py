"""A run's folder among the logs of Ray's session, which the dashboard shows."""

from __future__ import annotations

from pathlib import Path

from ftorch.core.errors import RunNotFoundError
from ftorch.providers.http import Http
from ftorch.providers.ray import api


class SessionFiles:
    """The folder of one run, on the node where its driver ran; None: no node has had it."""

    def __init__(self, http: Http, key: str, node_id: str | None, operation: str) -> None:
        self._http = http
        self._key = key
        self._node_id = node_id
        self._operation = operation

    def read(self, name: str) -> bytes | None:
        if self._node_id is None:
            return None
        return api.file(self._http, self._node_id, self._path(name), self._operation)

    def download(self, name: str, part: Path) -> None:
        if self._node_id is None:
            raise RunNotFoundError(f"run {self._key} never began", provider="ray", operation=self._operation)
        api.download(self._http, self._node_id, self._path(name), part)

    def _path(self, name: str) -> str:
        return f"ftorch/{self._key}/{name}"
