"""`python -m ftorch.trainer train|evaluate|prepare`: lock, heartbeat and spec check come before torch is imported."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from ftorch.trainer import bases, run
from ftorch.trainer.errors import ExitCode, InterruptedRun, SpecError, TrainerError
from ftorch.trainer.folder import Folder
from ftorch.trainer.session import Session
from ftorch.trainer.spec import Job, Spec, evaluate_job, train_job

_ENVIRONMENT = {
    **run.ENVIRONMENT,
    "CUDA_VISIBLE_DEVICES": "0",  # one process, one GPU: TRL refuses to see several
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; may also leave the process at once, when it is told to stop."""
    born = time.monotonic()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        arguments = _parser().parse_args(argv)
        match arguments.command:
            case "prepare":
                return _prepare(arguments.base, arguments.cache, arguments.revision)
            case "train":
                return _attempt(train_job, run.run_training, arguments.spec, arguments.out, born)
            case _:
                return _attempt(evaluate_job, run.run_evaluation, arguments.spec, arguments.out, born)
    except TrainerError as error:
        _tell(error)
        return error.exit_code


def _prepare(base: str, cache: Path, revision: str | None) -> int:
    sys.stdout.write(json.dumps(asdict(bases.prepare(base, cache, revision))) + "\n")
    return ExitCode.DONE


def _attempt(
    read: Callable[[bytes, Path], Job[Spec]],
    work: Callable[[Job[Spec], Session], None],
    spec_path: Path,
    out: Path | None,
    born: float,
) -> int:
    text = _text(spec_path)
    folder = Folder((out or spec_path.parent / "out").absolute())
    folder.root.mkdir(parents=True, exist_ok=True)
    with folder.locked(os.environ):
        job, fault = _read(read, text, spec_path.absolute().parent)
        if job and folder.is_done(job.fingerprint):
            return ExitCode.DONE
        limit = job.spec.max_duration_s if job else None
        session = Session(folder, max_duration_s=limit, born=born)
        with session.signals(), session:
            return _work(work, job, fault, session)


def _read(
    read: Callable[[bytes, Path], Job[Spec]], text: bytes, root: Path
) -> tuple[Job[Spec] | None, TrainerError | None]:
    """The job, or what is wrong with it: that is told in the folder, once the session is on."""
    try:
        return read(text, root), None
    except TrainerError as error:
        return None, error


def _work(
    work: Callable[[Job[Spec], Session], None], job: Job[Spec] | None, fault: TrainerError | None, session: Session
) -> int:
    try:
        if job is None:
            raise fault or SpecError("no job")
        os.environ.update(run.environment(job.spec))
        work(job, session)
    except InterruptedRun as interruption:
        session.event("interrupted", reason=interruption.reason, step=interruption.step)
        return ExitCode.INTERRUPTED
    except TrainerError as error:
        _tell(error)
        return session.failed(error)
    except Exception as error:  # noqa: BLE001  the outer edge: whatever it was, the folder must tell it
        traceback.print_exc()
        return session.failed(error)
    return ExitCode.DONE


def _text(spec_path: Path) -> bytes:
    try:
        return spec_path.read_bytes()
    except OSError as error:
        raise SpecError(f"{spec_path}: {error.strerror}") from error


def _tell(error: TrainerError) -> None:
    sys.stderr.write(f"{error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SpecError(message, hint="see `python -m ftorch.trainer --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m ftorch.trainer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("train", "train an adapter"), ("evaluate", "score rows with a base model or an adapter")):
        command = commands.add_parser(name, help=words)
        command.add_argument("spec", type=Path, help="the spec file, job.json")
        command.add_argument("--out", type=Path, help="output folder (default: out, beside the spec)")
    command = commands.add_parser("prepare", help="make a base model ready and print where it is, as JSON")
    command.add_argument("base", help="builtin:tiny, builtin:smollm2-135m, an absolute folder, or a Hub id")
    command.add_argument("--cache", type=Path, required=True, help="where built-in models are kept")
    command.add_argument("--revision", help="commit, tag or branch at the Hub")
    return parser


if __name__ == "__main__":
    sys.exit(main())
