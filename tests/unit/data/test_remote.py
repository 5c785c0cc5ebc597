"""Datasets at URLs: from a real server on 127.0.0.1, from a file and from memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ftorch.core.errors import DataError, NotFinishedError
from ftorch.core.paths import Home
from ftorch.data.remote import brought, shown
from ftorch.manifest.schema import Dataset, HeldOutFile


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A server with `rows.jsonl`."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("first\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_dataset_at_a_url_is_brought_here_and_read_anew_each_time(tmp_path: Path, site: str) -> None:
    home = Home(tmp_path / "home")
    asked = Dataset(path=f"{site}/rows.jsonl")

    first = Path(brought(asked, home).path)
    before = first.read_text()
    (tmp_path / "site" / "rows.jsonl").write_text("second\n")
    again = Path(brought(asked, home).path)

    assert (before, again, again.read_text()) == ("first\n", first, "second\n")


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_any_url_that_fsspec_opens_will_do(tmp_path: Path, scheme: str) -> None:
    path = f"{tmp_path}/held.jsonl"
    with fsspec.open(f"{scheme}://{path}", "w") as stream:
        stream.write("row\n")

    found = brought(Dataset(path="rows.jsonl", held_out=HeldOutFile(path=f"{scheme}://{path}")), Home(tmp_path / "h"))

    assert isinstance(found.held_out, HeldOutFile)
    assert (found.path, Path(found.held_out.path).read_text()) == ("rows.jsonl", "row\n")


def test_a_local_dataset_is_left_where_it_is(tmp_path: Path) -> None:
    asked = Dataset(path="data/rows.jsonl")

    assert brought(asked, Home(tmp_path / "home")) is asked


def test_a_file_that_is_not_there_is_said_with_its_key(tmp_path: Path, site: str) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl: dataset\.path: no such file"):
        brought(Dataset(path=f"{site}/missing.jsonl"), Home(tmp_path / "home"))


def test_a_server_that_does_not_answer_may_do_so_later(tmp_path: Path) -> None:
    with pytest.raises(NotFinishedError, match="cannot be read now"):
        brought(Dataset(path="http://127.0.0.1:9/rows.jsonl"), Home(tmp_path / "home"))


def test_an_unknown_scheme_is_a_fault_of_the_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Protocol not known"):
        brought(Dataset(path="nowhere-at-all://bucket/rows.jsonl"), Home(tmp_path / "home"))


def test_a_url_is_shown_without_its_secrets() -> None:
    assert shown("https://me:secret@host:8/rows.jsonl?sig=abc") == "https://host/rows.jsonl"
