"""Who may come in: API keys with their person, project and organisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KEY = "tgp_v1_4f1c09-key-of-the-emulator"
COLLEAGUE_KEY = "tgp_v1_7d20ab-key-of-a-colleague"
"""Another person's key of the same organisation."""
OTHER_KEY = "tgp_v1_e3b771-key-of-strangers"
"""Of another organisation."""
ORGANISATION, OTHER_ORGANISATION = "org-tiny-support", "org-strangers"


@dataclass(frozen=True, slots=True)
class Account:
    """What an API key stands for."""

    organisation: str
    organisation_name: str
    project: str
    project_name: str
    user: str
    key_id: str


ACCOUNTS: Mapping[str, Account] = {
    KEY: Account(ORGANISATION, "Tiny Support", "proj-support", "support", "user-ada", "key-4f1c09"),
    COLLEAGUE_KEY: Account(ORGANISATION, "Tiny Support", "proj-search", "search", "user-ben", "key-7d20ab"),
    OTHER_KEY: Account(OTHER_ORGANISATION, "Strangers", "proj-strange", "strange", "user-eve", "key-e3b771"),
}
