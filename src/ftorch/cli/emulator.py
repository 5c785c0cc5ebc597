"""`ftorch emulator`: providers in a box, to rehearse against without an account and without cost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from ftorch.cli.output import say

if TYPE_CHECKING:
    from ftorch.emulators.server import Emulator
    from ftorch.emulators.training import Training


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What its user asked for; `train` is None where they did not say."""

    port: int
    speed: float
    train: str | None


@dataclass(frozen=True, slots=True)
class _Box:
    """One provider in a box."""

    words: str
    package: str
    """Of the extra of the same name; without it the box does not open."""
    opened: Callable[[_Wanted], Emulator]


def _anyscale(wanted: _Wanted) -> Emulator:
    from ftorch.core.errors import MissingExtraError
    from ftorch.emulators.anyscale import AnyscaleEmulator
    from ftorch.emulators.clock import FastClock

    if find_spec("trl") is None:
        raise MissingExtraError("the emulator 'anyscale', which runs here what it is sent,", extra="train")
    return AnyscaleEmulator(FastClock(wanted.speed), port=wanted.port, genuine=_is_genuine(wanted))


def _lambda(wanted: _Wanted) -> Emulator:
    from ftorch.core.errors import UsageError
    from ftorch.emulators.boxes.box import find_sshd
    from ftorch.emulators.clock import FastClock
    from ftorch.emulators.lambda_cloud.emulator import LambdaEmulator

    if find_sshd() is None:
        words = "the emulator 'lambda' gives each machine an OpenSSH server, and there is none here"
        raise UsageError(words, hint="run `apt-get install openssh-server`")
    is_genuine = _is_genuine(wanted)
    return LambdaEmulator(FastClock(wanted.speed), port=wanted.port, genuine=is_genuine, speed=wanted.speed)


def _modal(wanted: _Wanted) -> Emulator:
    from ftorch.core.errors import UsageError
    from ftorch.emulators.clock import FastClock
    from ftorch.emulators.modal import ModalEmulator

    if wanted.train is not None:
        raise UsageError(f"--train {wanted.train}: a sandbox runs what it is told to", hint="leave --train out")
    return ModalEmulator(FastClock(wanted.speed), port=wanted.port)


def _ray(wanted: _Wanted) -> Emulator:
    from ftorch.emulators.clock import FastClock
    from ftorch.emulators.ray import RayEmulator

    return RayEmulator(FastClock(wanted.speed), port=wanted.port, training=_training(wanted))


def _together(wanted: _Wanted) -> Emulator:
    from ftorch.emulators.clock import FastClock
    from ftorch.emulators.together import TogetherEmulator

    return TogetherEmulator(FastClock(wanted.speed), port=wanted.port, training=_training(wanted))


def _training(wanted: _Wanted) -> Training:
    from ftorch.core.paths import Home
    from ftorch.emulators.training import Genuine, Instant

    if _is_genuine(wanted):
        return Genuine(Home.from_env(os.environ).ensure().root / "emulators")
    return Instant()


def _is_genuine(wanted: _Wanted) -> bool:
    from ftorch.core.errors import MissingExtraError

    if wanted.train == "genuine" and find_spec("trl") is None:
        raise MissingExtraError("--train genuine", extra="train")
    return wanted.train == "genuine"


_BOXES = {
    "anyscale": _Box("Anyscale's jobs, which run here, with its storage of packages and its bill", "fsspec", _anyscale),
    "lambda": _Box("Lambda Cloud's machines, each with a real sshd and the switch that ends it", "asyncssh", _lambda),
    "modal": _Box("Modal's sandboxes, which really run here, with its volumes and its bill", "modal", _modal),
    "ray": _Box("Ray's Jobs API, with one node, its queue and its logs", "fsspec", _ray),
    "together": _Box("Together's fine-tuning API, with its files, its jobs and its bill", "zstandard", _together),
}


@click.group(invoke_without_command=True)
@click.pass_context
def emulator(context: click.Context) -> None:
    """Providers in a box on 127.0.0.1; without a command, list them."""
    if context.invoked_subcommand is None:
        for name, box in _BOXES.items():
            click.echo(f"{name}  {box.words}")


@emulator.command()
@click.argument("name", type=click.Choice(list(_BOXES)))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; a free one by default.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="How many times faster its clock goes.")
@click.option(
    "--train",
    type=click.Choice(["instant", "genuine"]),
    help="Not for modal: a ready-made adapter (the default), or one that the trainer makes on a tiny model.",
)
def up(*, name: str, port: int, speed: float, train: str | None) -> int:
    """Run one in this terminal until Ctrl-C, and print the variables to set for it."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with _opened(name, _Wanted(port, speed, train)) as one:
        for variable, value in one.variables.items():
            click.echo(f"{variable}={value}")
        say(f"{name} is up; Ctrl-C ends it, and it forgets what was sent to it")
        ended.wait()
    return 0


def _opened(name: str, wanted: _Wanted) -> Emulator:
    from ftorch.core.errors import MissingExtraError, UsageError

    box = _BOXES[name]
    if find_spec(box.package) is None:
        raise MissingExtraError(f"the emulator {name!r}", extra=name)
    if wanted.speed <= 0:
        words = f"--speed {wanted.speed:g}: time does not go that way"
        raise UsageError(words, hint="give a number above 0, such as 60")
    try:
        return box.opened(wanted)
    except OSError as error:
        raise UsageError(
            f"port {wanted.port} cannot be had: {error.strerror}", hint="leave --port out, and a free one is taken"
        ) from error
