"""`ftorch emulator`: providers in a box, to rehearse against without an account and without cost."""

from __future__ import annotations

import os
import signal
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from ftorch.cli.output import say

if TYPE_CHECKING:
    from ftorch.emulators.clock import FastClock
    from ftorch.emulators.server import Emulator
    from ftorch.emulators.training import Training

_EMULATORS = {
    "anyscale": "Anyscale's jobs, run as processes here, with its storage of packages and its bill",
    "ray": "Ray's Jobs API, with one node, its queue and its logs",
    "together": "Together's fine-tuning API, with its files, its jobs and its bill",
}
_NEEDS = {"anyscale": ("trl", "train"), "together": ("zstandard", "together")}
"""A package that each one cannot do without, and the extra that brings it."""


@click.group(invoke_without_command=True)
@click.pass_context
def emulator(context: click.Context) -> None:
    """Providers in a box on 127.0.0.1; without a command, list them."""
    if context.invoked_subcommand is None:
        for name, words in _EMULATORS.items():
            click.echo(f"{name}  {words}")


@emulator.command()
@click.argument("name", type=click.Choice(list(_EMULATORS)))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; a free one by default.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="How many times faster its clock goes.")
@click.option(
    "--train",
    "kind",
    type=click.Choice(["instant", "genuine"]),
    default="instant",
    show_default=True,
    help="A ready-made adapter, or one that the trainer makes from the rows that were sent, on a tiny model.",
)
def up(*, name: str, port: int, speed: float, kind: str) -> int:
    """Run one in this terminal until Ctrl-C, and print the variables to set for it."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with _opened(name, port, speed, kind) as one:
        for variable, value in _variables(one).items():
            click.echo(f"{variable}={value}")
        say(f"{name} is up; Ctrl-C ends it, and it forgets everything but what it trained")
        ended.wait()
    return 0


def _opened(name: str, port: int, speed: float, kind: str) -> Emulator:
    from ftorch.core.errors import MissingExtraError, UsageError

    package, extra = _NEEDS.get(name, ("", ""))
    if package and find_spec(package) is None:
        raise MissingExtraError(f"the emulator {name!r}", extra=extra)
    if speed <= 0:
        raise UsageError(f"--speed {speed:g}: time does not go that way", hint="give a number above 0, such as 60")
    from ftorch.emulators.clock import FastClock

    try:
        return _made(name, FastClock(speed), port, kind)
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be had: {error.strerror}", hint="leave --port out, and a free one is taken"
        ) from error


def _made(name: str, clock: FastClock, port: int, kind: str) -> Emulator:
    match name:
        case "anyscale":
            from ftorch.emulators.anyscale import AnyscaleEmulator

            return AnyscaleEmulator(clock, port=port, genuine=kind == "genuine")
        case "ray":
            from ftorch.emulators.ray import RayEmulator

            return RayEmulator(clock, port=port, training=_training(kind))
        case _:
            from ftorch.emulators.together import TogetherEmulator

            return TogetherEmulator(clock, port=port, training=_training(kind))


def _training(kind: str) -> Training:
    from ftorch.core.errors import MissingExtraError
    from ftorch.core.paths import Home
    from ftorch.emulators.training import Genuine, Instant

    if kind == "instant":
        return Instant()
    if find_spec("trl") is None:
        raise MissingExtraError("--train genuine", extra="train")
    return Genuine(Home.from_env(os.environ).ensure().root / "emulators")


def _variables(one: Emulator) -> dict[str, str]:
    """What a shell sets so that clients of the real service talk to this one."""
    match one.name:
        case "anyscale":
            from ftorch.emulators import anyscale

            return {"ANYSCALE_HOST": one.url, "ANYSCALE_CLI_TOKEN": anyscale.TOKEN}
        case "ray":
            from ftorch.emulators import ray

            return {"RAY_ADDRESS": one.url, "RAY_AUTH_TOKEN": ray.TOKEN}
        case _:
            from ftorch.emulators import together

            return {"TOGETHER_BASE_URL": one.url, "TOGETHER_API_KEY": together.KEY}
