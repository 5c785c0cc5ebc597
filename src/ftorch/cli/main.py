"""The entry point. `--version` and `--help` must cost next to nothing: commands are named here, imported later."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import ftorch

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("manifest:init", "Write a commented manifest to start from."),
    "schema": ("manifest:schema", "Print a JSON schema: manifest, settings, or an output."),
    "validate": ("manifest:validate", "Check a manifest and its data."),
    "plan": ("manifest:plan", "Resolve a manifest: what would be done, and the estimate; compare providers."),
    "submit": ("submit:submit", "Submit a manifest."),
    "wait": ("submit:wait", "Wait for a job, showing its progress."),
    "jobs": ("jobs:jobs", "List jobs; show, logs, cancel, retry, adopt, diff."),
    "logs": ("jobs:logs", "Print the log of a job's newest run."),
    "cancel": ("jobs:cancel", "Stop a job."),
    "adapters": ("adapters:adapters", "List adapters that came home; path, verify, promote, rollback, history."),
    "eval": ("eval:evaluate", "Judge an adapter on held-out rows, against base, hosted or another adapter."),
    "lifetime": ("lifetime:lifetime", "Does the fine-tune pay? Two lifetimes, the crossover, the verdict."),
    "decide": ("decide:decide", "Fine-tune, prompt, retrieve, or do not? From evidence."),
    "spend": ("spend:spend", "What was spent, from the ledger: by what, when, and why it changed."),
    "bill": ("bill:bill", "Bills: how far they are read; pull, import, explain, assign, close."),
    "ledger": ("spend:ledger", "List the ledger's entries."),
    "schedule": ("schedule:schedule", "Retrain while nobody watches: add, list, show, pause, trigger, next."),
    "notices": ("notices:notices", "What people were told, and whether it was taken; test."),
    "reap": ("reap:reap", "Find and end runs that cost money and that no job answers for."),
    "daemon": ("daemon:daemon", "The process that moves jobs forward: run, start, stop, status, install."),
    "db": ("db:db", "The database: check, backup, move to a server."),
    "providers": ("providers:providers", "Which providers there are, and which are configured; prices."),
    "emulator": ("emulator:emulator", "Providers in a box, to rehearse against without an account: up."),
    "doctor": ("providers:doctor", "Check this installation."),
    "completion": ("completion:completion", "Print the shell completion script."),
}


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        print(f"ftorch {ftorch.__version__}")  # noqa: T201  before click: three times the cost of this line
        return
    from ftorch.cli.app import run

    sys.exit(run(_COMMANDS))


if __name__ == "__main__":
    main()
