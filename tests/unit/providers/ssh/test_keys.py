"""Keys that are derived."""

from __future__ import annotations

from ftorch.providers.ssh.keys import derived


def test_the_same_secret_gives_the_same_key_everywhere() -> None:
    first, second = derived("secret", "client ft-1"), derived("secret", "client ft-1")

    assert (first.public, first.key) == (second.public, second.key)


def test_every_run_purpose_and_secret_has_a_key_of_its_own() -> None:
    made = {derived(*words).public for words in [("s", "a"), ("s", "b"), ("t", "a")]}

    assert len(made) == 3


def test_a_key_is_written_as_openssh_does_and_does_not_show() -> None:
    pair = derived("secret", "host")

    assert pair.public.startswith("ssh-ed25519 ")
    assert pair.private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert pair.key.export_public_key().decode().strip() == pair.public
    assert "PRIVATE" not in repr(pair)
