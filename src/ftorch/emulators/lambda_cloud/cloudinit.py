"""user_data carried out in a box, as cloud-init does it: files, host key, commands, and services that are kept alive.

A box has no root of its own: absolute paths are moved under its folder, in names and in contents.
"""

from __future__ import annotations

import configparser
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path

from ftorch.emulators.boxes.box import Box
from ftorch.emulators.lambda_cloud.schemas import CloudConfig, UserFile

_UNITS = "/etc/systemd/system"


class CloudInit:
    """What one machine does at its boot. `stop` ends the services with the machine."""

    def __init__(self, box: Box, config: CloudConfig, home: str) -> None:
        self._box = box
        self._config = config
        self._moved = {home: f"{box.home}/", "/opt/": f"{box.folder}/opt/", "/etc/": f"{box.folder}/etc/"}
        self._over = threading.Event()
        self._keepers: list[threading.Thread] = []

    def write_files(self) -> None:
        for file in self._config.write_files:
            self._write(file)

    def run_commands(self) -> None:
        """`systemctl` is ours; everything else is a program of the machine."""
        for command in self._config.runcmd:
            match command:
                case ["systemctl", "daemon-reload"]:
                    pass
                case ["systemctl", "enable", "--now", unit]:
                    self._serve(unit)
                case _:
                    self._box.run(command)

    def stop(self) -> None:
        """No service is started again. Wait for it with `join`, once the machine's processes have been ended."""
        self._over.set()

    def join(self) -> None:
        for keeper in self._keepers:
            keeper.join()

    def _write(self, file: UserFile) -> None:
        path = Path(self._inside(file.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._inside(file.content) if not file.path.endswith(".py") else file.content)
        path.chmod(int(file.permissions, 8))

    def _serve(self, unit: str) -> None:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names are case-sensitive
        parser.read(self._inside(f"{_UNITS}/{unit}"))
        command = shlex.split(parser["Service"]["ExecStart"])
        again_s = float(parser["Service"].get("RestartSec", "5"))
        keeper = threading.Thread(target=self._keep, args=(command, again_s), name=f"unit-{unit}", daemon=True)
        self._keepers.append(keeper)
        keeper.start()

    def _keep(self, command: Sequence[str], again_s: float) -> None:
        while not self._over.is_set():
            self._box.run(command).wait()
            self._over.wait(again_s / self._box.speed)

    def _inside(self, text: str) -> str:
        for outside, inside in self._moved.items():
            text = text.replace(outside, inside)
        return text
