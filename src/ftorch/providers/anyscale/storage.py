"""Addresses that Anyscale signed: a package on its way up, a piece of a log on its way here; no token goes along."""

from __future__ import annotations

from pathlib import Path

import httpx

from ftorch.core.errors import ProviderUnavailableError
from ftorch.providers.anyscale.answers import Presigned
from ftorch.providers.anyscale.errors import refused
from ftorch.providers.http import default_client

_TIMEOUT_S = 60.0
_AZURE = ("azure", "abfss")
_BLOB = {"x-ms-blob-type": "BlockBlob", "x-ms-blob-content-type": "application/zip", "x-ms-version": "2025-07-05"}


def put(place: Presigned, file: Path) -> None:
    """Bring a file there; again is harmless. Raises ProviderUnavailableError: the next call gets a fresh address."""
    if place.url_scheme != "HTTP":
        raise refused(
            f"the storage of this cloud takes no signed uploads ({place.url_scheme})",
            "choose another cloud with provider.anyscale.cloud",
        )
    headers = _BLOB if place.file_uri.startswith(_AZURE) else {}
    with _client() as client, file.open("rb") as content:
        size = {"Content-Length": str(file.stat().st_size)}  # storage takes no body of unknown length
        _good(client, client.build_request("PUT", place.url, content=content, headers={**headers, **size}), "stage")


def get(url: str, bearer: str | None) -> bytes:
    """The content of an address. Raises ProviderUnavailableError."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    with _client() as client:
        return _good(client, client.build_request("GET", url, headers=headers), "logs").content


def _client() -> httpx.Client:
    return default_client(_TIMEOUT_S)


def _good(client: httpx.Client, request: httpx.Request, operation: str) -> httpx.Response:
    try:
        response = client.send(request)
    except httpx.HTTPError as error:
        raise _unavailable(f"did not answer {operation}: {type(error).__name__}", operation) from error
    if not response.is_success:
        # An address is good for a while only, and the words of storage may repeat its signature.
        raise _unavailable(f"answered {operation} with {response.status_code}", operation)
    return response


def _unavailable(words: str, operation: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"anyscale's storage {words}", provider="anyscale", operation=operation)
