"""Opening an installation: state folder, database, identity, credentials, providers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.jobs.context import Context
from ftorch.manifest.credentials import environment
from ftorch.manifest.places import artifacts_folder, store_url
from ftorch.manifest.settings import Cap
from ftorch.providers.base import Provider
from ftorch.providers.registry import open_provider
from ftorch.store import Store, Transaction, open_store, sql


def open_context(env: Mapping[str, str], cwd: Path, clock: Clock | None = None, caps: Sequence[Cap] = ()) -> Context:
    """Everything that steps need, from the environment. Makes the state folder and the database when needed.

    The providers go by its clock: an order is refused when it is late, and what is seen is put in order, by one clock.
    """
    home = replace(Home.from_env(env).ensure(), artifacts=artifacts_folder(cwd, env))
    store = open_store(store_url(cwd, env) or home.database)
    ids = Ids()
    merged = environment(env, cwd).mapping()
    clock = clock or SystemClock()
    return Context(
        store=store,
        clock=clock,
        ids=ids,
        home=home,
        installation=installation_id(store, ids),
        env=merged,
        open_provider=once_each(lambda name: open_provider(name, merged, clock)),
        caps=caps,
    )


def installation_id(store: Store, ids: Ids) -> str:
    """The mark of this installation, made at the first call and kept in the database."""

    def first(tx: Transaction) -> str:
        known = tx.scalar(sql.GET_META, key=sql.INSTALLATION)
        if known is None:
            known = ids.installation()
            tx.put_meta(sql.INSTALLATION, known)
        return str(known)

    return store.meta(sql.INSTALLATION) or store.write(first)


def once_each(make: Callable[[str], Provider]) -> Callable[[str], Provider]:
    """One provider object per name, shared by all threads."""
    made: dict[str, Provider] = {}
    lock = threading.Lock()

    def get(name: str) -> Provider:
        with lock:
            if name not in made:
                made[name] = make(name)
            return made[name]

    return get
