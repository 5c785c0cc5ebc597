"""One emulated machine: its folder stands for its disk, its sshd is real, its GPU is not.

A box runs what the real one would: the agent over ssh, the runner, the trainer. Its `python3` is ours; in place of the
trainer a stand-in works unless `genuine` is asked for, and then the tiny model stands in for any base of the Hub.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_INSIDE = Path(__file__).parent / "inside"
_SFTP = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server")
_START_S = 20.0
_MARK = "FTORCH_BOX"


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a box says about its GPUs, and what CUDA answers: 0 is well; None: there is no driver."""

    names: Sequence[str] = ("NVIDIA A10",)
    cuda: int | None = 0


@dataclass
class Box:
    """A machine that is off until `start`. `end` leaves no process of it."""

    folder: Path
    address: str
    port: int
    host_key: str = field(repr=False)
    """The private key, as OpenSSH writes it."""
    authorized: Sequence[str]
    gpu: Gpu = field(default_factory=Gpu)
    genuine: bool = False
    speed: float = 1.0
    """How fast time goes for the services of the machine: not for its ssh and not for its training."""
    counts: bool = True
    """False: what is sent goes straight to sshd, for measurements."""
    env: Mapping[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    _sshd: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _others: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def user(self) -> str:
        return getpass.getuser()

    def start(self) -> None:
        """Furnish the disk and start sshd. Returns when it listens."""
        self.furnish()
        if os.geteuid() == 0:
            # Where root's sshd locks its children in; it does not start without.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = find_sshd()
        assert sshd is not None, "sshd is not installed: run `apt-get install openssh-server`"
        with (self.folder / "sshd.log").open("ab") as log:
            command = [sshd, "-D", "-e", "-f", str(self.folder / "etc/sshd_config")]
            self._sshd = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment()
            )
        self._wait()

    def furnish(self) -> None:
        """Write everything that the machine has on its disk."""
        for name in ("etc", "bin", "home", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._file("etc/host_key", self.host_key, 0o600)
        self._file("etc/authorized_keys", "".join(f"{key}\n" for key in self.authorized), 0o600)
        self._file("etc/sshd_config", self._sshd_config(), 0o600)
        self._file("etc/gpu.json", json.dumps({"names": list(self.gpu.names), "cuda": self.gpu.cuda}))
        self._file("bin/shell", _SHELL.format(**self._words()), 0o755)
        self._file("bin/python3", _PYTHON.format(**self._words()), 0o755)
        self._file("bin/nvidia-smi", _SMI.format(**self._words()), 0o755)

    def run(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a service of the machine."""
        with (self.folder / "services.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._others.append(process)
        return process

    def environment(self) -> dict[str, str]:
        """What everything in the machine finds in its environment."""
        path = os.pathsep.join([str(self.folder / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
        return {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", _MARK: self.mark, **self.env}

    def fault(self, verb: str, fault: str, *, times: int | None = 1, value: str = "") -> None:
        """Let a verb of the agent fail; see `inside/shell.py` for the words. None: from then on always."""
        faults = [*self._faults(), {"verb": verb, "fault": fault, "times": times, "value": value}]
        self._file("etc/faults.json", json.dumps(faults))

    def heal(self) -> None:
        """No more faults."""
        (self.folder / "etc/faults.json").unlink(missing_ok=True)

    def train(self, settings: Mapping[str, object]) -> None:
        """How the stand-in trainer works from now on; see `inside/instant.py`."""
        self._file("etc/instant.json", json.dumps(dict(settings)))

    def asked(self) -> Counter[str]:
        """How often each verb was asked for."""
        path = self.folder / "etc/asked"
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def sent(self) -> int:
        """Bytes of files that left the machine."""
        path = self.folder / "etc/sent"
        return sum(map(int, path.read_text().split())) if path.exists() else 0

    def processes(self) -> list[int]:
        """Every process of the machine: what sshd begot, and what has left it and carries its mark."""
        roots = [one.pid for one in (self._sshd, *self._others) if one is not None and one.poll() is None]
        marked = [pid for pid in _pids() if f"{_MARK}={self.mark}".encode() in _environ(pid)]
        return sorted({*_begotten(roots), *marked})

    def cut(self) -> None:
        """End all ssh connections; the machine goes on, and answers again."""
        assert self._sshd is not None
        for pid in _begotten([self._sshd.pid]):
            if pid != self._sshd.pid:
                _kill(pid)

    def unplug(self) -> None:
        """No more ssh: the machine goes on and cannot be reached."""
        if self._sshd is not None:
            self.cut()
            self._sshd.kill()
            self._sshd.wait()
            self._sshd = None

    def end(self) -> None:
        """End everything in it, by process id, until nothing is left. Twice is harmless."""
        deadline = time.monotonic() + _START_S
        while left := self.processes():
            for pid in left:
                _kill(pid)
            for process in (self._sshd, *self._others):
                if process is not None:
                    process.wait()
            assert time.monotonic() < deadline, f"the machine at {self.address} does not end: {left}"
        self._sshd = None
        self._others.clear()

    def drop(self) -> None:
        """End it and throw its disk away."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=1).close()
            except OSError:
                log = (self.folder / "sshd.log").read_text()
                assert self._sshd is not None
                assert self._sshd.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.01)
            else:
                return

    def _faults(self) -> list[dict[str, object]]:
        path = self.folder / "etc/faults.json"
        faults: list[dict[str, object]] = json.loads(path.read_text()) if path.exists() else []
        return faults

    def _file(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        aside = path.with_name(f".{path.name}.new")
        aside.write_text(text)
        aside.chmod(mode)
        aside.replace(path)

    def _words(self) -> dict[str, str]:
        return {
            "folder": str(self.folder),
            "home": str(self.home),
            "inside": str(_INSIDE),
            "python": sys.executable,
            "training": "genuine" if self.genuine else "instant",
            "speed": str(self.speed),
            "counted": "send" if self.counts else "nothing",
        }

    def _sshd_config(self) -> str:
        sftp = next((path for path in _SFTP if Path(path).exists()), _SFTP[0])
        passed = " ".join(f'"{name}={value}"' for name, value in self.environment().items())
        return _SSHD.format(address=self.address, port=self.port, folder=self.folder, sftp=sftp, passed=passed)


_SSHD = """\
ListenAddress {address}
Port {port}
HostKey {folder}/etc/host_key
AuthorizedKeysFile {folder}/etc/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
LogLevel ERROR
SetEnv {passed}
ForceCommand {folder}/bin/shell
Subsystem sftp {sftp}
"""
_SHELL = """\
#!/bin/sh
# A session of the machine: in its own home, with its own programs first.
cd "$HOME" || exit 1
verb=${{SSH_ORIGINAL_COMMAND% *}}
verb=${{verb##* }}
echo "$verb" >> "{folder}/etc/asked"
if [ "$verb" = "{counted}" ] || [ -e "{folder}/etc/faults.json" ]; then
    exec "{python}" -I -S "{inside}/shell.py" "{folder}/etc" "$verb"
fi
exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""
_PYTHON = """\
#!/bin/sh
# The machine's Python, with its GPU for the probe, its clock for its services, and its base models.
case "$1|$3" in
"-c|probe") export PYTHONPATH="{inside}/gpu" FTORCH_GPU="{folder}/etc/gpu.json" ;;
esac
case "$1" in
*/switch.py) export PYTHONPATH="{inside}/clock" FTORCH_SPEED="{speed}" ;;
esac
case "$1 $2 $3|{training}" in
"-m ftorch.trainer prepare|"*) exec "{python}" "{inside}/prepare.py" {training} "$4" "$6" ;;
"-m ftorch.trainer train|instant") exec "{python}" -I "{inside}/instant.py" "$4" "$6" "{folder}/etc/instant.json" ;;
esac
exec "{python}" "$@"
"""
_SMI = """\
#!/bin/sh
exec "{python}" -I -S "{inside}/smi.py" "{folder}/etc/gpu.json"
"""


def find_sshd() -> str | None:
    """Where OpenSSH's server is; None where it is not installed."""
    return shutil.which("sshd", path=os.pathsep.join(["/usr/sbin", "/sbin", os.environ.get("PATH", "")]))


def free_port() -> int:
    """A port that is free on every loopback address, as far as one can know."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208  a Path for each costs more


def _environ(pid: int) -> bytes:
    """Empty for a zombie, which is none of ours to end, and for who has gone."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _begotten(roots: Sequence[int]) -> set[int]:
    """These processes and all that descend from them, zombies left out."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        if parent := _parent(pid):
            children.setdefault(parent, []).append(pid)
    found, waiting = set[int](), list(roots)
    while waiting:
        found.add(pid := waiting.pop())
        waiting += children.get(pid, ())
    return found


def _parent(pid: int) -> int | None:
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state == "Z" else int(parent)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
