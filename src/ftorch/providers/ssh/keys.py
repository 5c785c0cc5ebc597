"""Keys for rented machines: derived, so that there is no file to lose and no key of the user's on a machine."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_ALGORITHM = "ssh-ed25519"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One ed25519 key, for asyncssh and as OpenSSH writes it."""

    key: asyncssh.SSHKey = field(repr=False)
    private: str = field(repr=False)
    public: str

    @property
    def public_key(self) -> asyncssh.SSHKey:
        return self.key.convert_to_public()


def derived(secret: str, purpose: str) -> KeyPair:
    """The same secret and purpose give the same key, on every machine that has the secret.

    Nobody gets from a key to the secret, nor from one purpose to another.
    """
    seed = hmac.digest(secret.encode(), f"ftorch {purpose}".encode(), hashlib.sha256)
    made = Ed25519PrivateKey.from_private_bytes(seed)
    text = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    key = asyncssh.import_private_key(text)
    return KeyPair(key, text, key.export_public_key().decode().split("\n", 1)[0].strip())
