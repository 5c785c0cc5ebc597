"""Runs in a storage of the user's: whatever fsspec opens, read with the user's own credentials."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ftorch.core.errors import CredentialsError, ProviderUnavailableError, RunNotFoundError, RunRejectedError

_BLOCK = 1 << 20
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class UriFiles:
    """`uri/<key>`. Opening it sends nothing."""

    def __init__(self, uri: str, key: str, provider: str) -> None:
        self._uri = uri
        self._provider = provider
        self._files, root = _opened(uri, provider)
        self._root = f"{root.rstrip('/')}/{key}"

    def read(self, name: str) -> bytes | None:
        try:
            found: bytes = self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed("observe", error) from error
        return found

    def download(self, name: str, part: Path) -> None:
        """Goes on where `part` ends; as long as some bytes arrive, a cut is no reason to give up."""
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                return self._download(name, part)
            except ProviderUnavailableError:
                if not part.exists() or part.stat().st_size <= before:
                    raise

    def _download(self, name: str, part: Path) -> None:
        try:
            with self._files.open(f"{self._root}/{name}", "rb") as source, part.open("ab") as target:
                # Longer than the original: another file was here before.
                target.truncate(min(target.tell(), source.size))
                source.seek(target.tell())
                while block := source.read(_BLOCK):
                    target.write(block)
        except FileNotFoundError as error:
            words = f"{self._uri} has no {name} of the run"
            raise RunNotFoundError(words, provider=self._provider, operation="fetch") from error
        except Exception as error:
            raise self._failed("fetch", error) from error

    def _failed(self, operation: str, error: Exception) -> Exception:
        """Every storage fails in its own words: those of rights are told apart, all others may pass."""
        if isinstance(error, PermissionError):
            return CredentialsError(
                f"{self._uri} may not be read from here: {error}",
                hint="log in to the storage on this machine, as its own command line would",
            )
        words = f"{self._uri} could not be read: {type(error).__name__} {error}"
        return ProviderUnavailableError(words, provider=self._provider, operation=operation)


def check_uri(uri: str, provider: str) -> None:
    """Raises RunRejectedError for a place that cannot be opened from here, or whose bucket or mount is not there."""
    files, _ = _opened(uri, provider)
    if not _is_there(files, top := _top(uri)):
        raise _rejected(f"{top} is not there", provider, "make it, or name another bucket or mount that exists")


def _top(uri: str) -> str:
    """The bucket of an address, or the first folder of a path. What lies below is made by a run."""
    scheme, slashes, rest = uri.rpartition("://")
    bucket, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{bucket or slash + path.partition('/')[0]}"


def _is_there(files: Any, top: str) -> bool:
    """Who may not ask gets no answer: only a storage that says so itself is believed that nothing is there."""
    with suppress(Exception):  # every storage fails in its own words
        try:
            # s3fs says of a bucket that may not be asked about that it does not exist; its listing tells the two apart.
            files.exists(top) or files.ls(top)
        except FileNotFoundError:
            return False
    return True


def _opened(uri: str, provider: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # noqa: PLC0415  wanted only where an output_uri is named

    scheme = uri.partition("://")[0]
    try:
        files, root = url_to_fs(uri)
    except ImportError as error:
        raise _rejected(
            f"{uri!r} needs a package: {error}", provider, f"run `pip install {PACKAGES.get(scheme, scheme)}`"
        ) from error
    except ValueError as error:
        raise _rejected(
            f"{uri!r} is no place that can be opened: {error}", provider, "write s3://BUCKET/PREFIX"
        ) from error
    return files, str(root)


def _rejected(words: str, provider: str, hint: str) -> RunRejectedError:
    return RunRejectedError(f"{provider}: output_uri {words}", provider=provider, operation="stage", hint=hint)
