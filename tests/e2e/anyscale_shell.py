"""A person's folder beside an emulated Anyscale that runs what was sent: processes, and a folder for a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from e2e.shell import MANIFEST, Shell, example, furnish
from ftorch.emulators.anyscale import TOKEN, AnyscaleEmulator
from ftorch.emulators.anyscale.jobs import Job
from ftorch.emulators.clock import FastClock

_BUCKET = "s3://my-bucket/ftorch"


@dataclass
class AnyscaleShell:
    """The command line, Anyscale, and what a test asks of both."""

    shell: Shell
    emulator: AnyscaleEmulator
    bucket: Path

    @property
    def job(self) -> Any:
        [one] = self.shell.json("jobs")
        return one

    @property
    def the_job(self) -> Job:
        """As Anyscale has it."""
        [name] = self.emulator.service.creates
        return self.emulator.service.newest(name)

    def spent(self) -> Decimal:
        return Decimal(self.shell.json("spend")["total"]["amount"])

    def example(self, name: str) -> str:
        """One of the example manifests, with this bucket in it."""
        manifest = self.shell.folder / example(self.shell.folder, name)
        manifest.write_text(manifest.read_text().replace(_BUCKET, self.bucket.as_uri()))
        return name


@contextmanager
def anyscale_shell(folder: Path, *, genuine: bool = False) -> Iterator[AnyscaleShell]:
    """A folder with the small job of `shell.py`, for Anyscale."""
    furnish(folder)
    bucket = folder / "bucket"
    chosen = f"provider: {{name: anyscale, anyscale: {{output_uri: {bucket.as_uri()}}}}}\nresources: {{gpu: T4}}"
    (folder / "job.yaml").write_text(MANIFEST.replace("provider: {name: local}", chosen))
    with AnyscaleEmulator(FastClock(), genuine=genuine) as emulator:
        shell = Shell(folder, env={"ANYSCALE_HOST": emulator.url, "ANYSCALE_CLI_TOKEN": TOKEN})
        yield AnyscaleShell(shell, emulator, bucket)
        shell.end_all()
    assert emulator.violations == []
