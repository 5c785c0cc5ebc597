"""acme's API: what it is asked and what it answers, one function per endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ftorch.core.clock import rfc3339
from ftorch.core.errors import NoCapacityError
from ftorch.costs.items import Window
from ftorch.providers.http import Http

PAGE = 100


class Answer(BaseModel):
    """What acme says. Fields that we do not know are left aside: a new one must not stop us."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Account(Answer):
    id: str
    name: str


class Machine(Answer):
    name: str
    gpu: str
    usd_per_hour: Decimal


class Machines(Answer):
    machines: tuple[Machine, ...]


class Upload(Answer):
    sha256: str
    status: str


class StoredUpload(Answer):
    sha256: str
    size: int = Field(alias="bytes")
    created_at: AwareDatetime


class UploadPage(Answer):
    uploads: tuple[StoredUpload, ...]
    next: str | None


class Run(Answer):
    id: str
    tag: str
    status: str
    usd_per_hour: Decimal
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    released_at: AwareDatetime | None
    exit_code: int | None
    message: str
    step: int
    total_steps: int
    trained_tokens: int | None
    price_usd: Decimal
    priced_at: AwareDatetime


class RunPage(Answer):
    runs: tuple[Run, ...]
    next: str | None


class LogLines(Answer):
    lines: tuple[str, ...]
    next: int
    complete: bool


class ResultFile(Answer):
    sha256: str
    size: int = Field(alias="bytes")


class Result(BaseModel):
    """The trainer's `result.json`; what we do not name here is kept as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    files: Mapping[str, ResultFile]
    trained_tokens: int


class BillRow(Answer):
    id: str
    kind: str
    start: AwareDatetime
    end: AwareDatetime
    usd: Decimal
    quantity: Decimal
    unit: str
    usd_per_unit: Decimal | None
    as_of: AwareDatetime
    description: str
    tag: str | None


class BillPage(Answer):
    rows: tuple[BillRow, ...]
    next: str | None


class NewRun(BaseModel):
    """The body of a create. Every value is written out: acme's defaults are not ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: str
    machine: str
    spec: Mapping[str, Any]
    uploads: Mapping[str, str]
    max_duration_s: int | None
    resume_from: str | None
    env: Mapping[str, str] = Field(repr=False)


def account(http: Http) -> Account:
    return http.read("/account", Account, operation="check")


def machines(http: Http) -> tuple[Machine, ...]:
    return http.read("/machines", Machines, operation="placements").machines


def declare_upload(http: Http, sha256: str) -> Upload:
    """Tell acme about content, or ask how far it is with it."""
    return http.change("POST", "/uploads", Upload, operation="stage", json={"sha256": sha256})


def send_content(http: Http, sha256: str, file: Path) -> Upload:
    return http.change("PUT", f"/uploads/{sha256}", Upload, operation="stage", file=file)


def uploads(http: Http) -> Iterator[StoredUpload]:
    """All content of the account, page by page."""
    params = {"limit": str(PAGE)}
    while True:
        page = http.read("/uploads", UploadPage, operation="staged_content", params=params)
        yield from page.uploads
        if page.next is None:
            return
        params["after"] = page.next


def delete_upload(http: Http, sha256: str) -> Upload:
    return http.change("DELETE", f"/uploads/{sha256}", Upload, operation="discard")


def create_run(http: Http, run: NewRun, *, send_before: datetime) -> Run:
    """Not idempotent: twice makes two runs."""
    return http.create(
        "/runs",
        Run,
        send_before=send_before,
        json=run.model_dump(mode="json"),
        rejected={"no_capacity": NoCapacityError},
        hidden=run.env.values(),
    )


def run(http: Http, run_id: str, *, operation: str) -> Run:
    return http.read(_path(run_id), Run, operation=operation, not_found=f"run {run_id}")


def runs(http: Http, *, operation: str, tag: str | None = None) -> Iterator[Run]:
    """All runs of the account, or those with a tag; oldest first, page by page."""
    after = None
    while True:
        asked = {"limit": PAGE, "after": after, "tag": tag}
        params = {name: value for name, value in asked.items() if value is not None}
        page = http.read("/runs", RunPage, operation=operation, params=params)
        yield from page.runs
        after = page.next
        if after is None:
            return


def cancel_run(http: Http, run_id: str) -> Run:
    return http.change("POST", _path(run_id, "cancel"), Run, operation="cancel", not_found=f"run {run_id}")


def delete_run(http: Http, run_id: str) -> Run:
    return http.change("DELETE", _path(run_id), Run, operation="release", not_found=f"run {run_id}")


def log_lines(http: Http, run_id: str, offset: int) -> LogLines:
    path = _path(run_id, "log")
    return http.read(path, LogLines, operation="logs", params={"offset": offset}, not_found=f"run {run_id}")


def result(http: Http, run_id: str) -> Result:
    path = _path(run_id, "artifact", "result.json")
    return http.read(path, Result, operation="fetch", not_found=f"result of run {run_id}")


def download(http: Http, run_id: str, name: str, part: Path) -> None:
    http.download(_path(run_id, "artifact", name), part, not_found=f"file {name} of run {run_id}")


def bill_rows(http: Http, window: Window) -> Iterator[BillRow]:
    """All rows of the account that start in the window, by time."""
    asked = {"start": rfc3339(window.start), "end": rfc3339(window.end), "limit": str(PAGE)}
    while True:
        page = http.read("/bill", BillPage, operation="line_items", params=asked)
        yield from page.rows
        if page.next is None:
            return
        asked["after"] = page.next


def _path(*parts: str) -> str:
    return "/runs/" + "/".join(quote(part) for part in parts)
