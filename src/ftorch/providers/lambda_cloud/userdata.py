"""What cloud-init does with a new machine: our host key, and the switch as a service. JSON is YAML, so it is JSON."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from ftorch.providers.ssh.keys import KeyPair

FOLDER = "/opt/ftorch"
SERVICE = "ftorch-switch.service"
_UNIT = f"""\
[Unit]
Description=Ends this machine when nobody else does
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/bin/env python3 {FOLDER}/switch.py {FOLDER}/switch.json
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


def user_data(host_key: KeyPair, switch: dict[str, Any] | None) -> str:
    """The cloud-config of one machine. It holds the private host key and the switch's API key."""
    config: dict[str, Any] = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": f"{host_key.public}\n"},
    }
    if switch is not None:
        config["write_files"] = [
            _file(f"{FOLDER}/switch.py", _program(), "0700"),
            _file(f"{FOLDER}/switch.json", json.dumps(switch), "0600"),
            _file(f"/etc/systemd/system/{SERVICE}", _UNIT, "0644"),
        ]
        config["runcmd"] = [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", SERVICE]]
    return f"#cloud-config\n{json.dumps(config, indent=1)}\n"


def _file(path: str, content: str, permissions: str) -> dict[str, str]:
    return {"path": path, "content": content, "permissions": permissions, "owner": "root:root"}


def _program() -> str:
    return (files("ftorch.providers.lambda_cloud") / "switch.py").read_text()
