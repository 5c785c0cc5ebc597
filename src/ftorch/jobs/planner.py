"""From a manifest's file to a plan with its estimate, for whoever asks: a person, or a schedule at night."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ftorch.core.clock import Clock
from ftorch.core.paths import Home
from ftorch.costs.book.listed import price_book
from ftorch.jobs.admit import adapter_folder
from ftorch.jobs.compare import Sources, compare
from ftorch.jobs.pick import pick
from ftorch.jobs.plan import Resolved, resolve
from ftorch.jobs.preview import PlanView, preview
from ftorch.manifest.credentials import Credentials, environment
from ftorch.manifest.load import load_manifest
from ftorch.manifest.prices import OwnPrice
from ftorch.manifest.schema import Manifest
from ftorch.manifest.settings import load_settings
from ftorch.store import Store

Progress = Callable[[str, int, int], None]


def _silent(_what: str, _done: int, _total: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Planner:
    """Resolves manifests. `cwd` decides which `ftorch.toml` and `.env` count; `store` is None where nothing is stored.

    Writes nothing and sends nothing.
    """

    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    home: Home
    store: Store | None
    clock: Clock
    progress: Progress = _silent

    def resolve(self, manifest: Manifest | Path, *, picks: bool = True) -> Resolved:
        """Raises what `plan.resolve` raises. Without `picks` no provider is looked at."""
        path = manifest if isinstance(manifest, Path) else manifest.source or self.cwd / "(manifest)"
        value = load_manifest(path) if isinstance(manifest, Path) else manifest
        return resolve(
            value,
            path,
            settings=load_settings(self.cwd, self.env),
            home=self.home,
            adapter_folder=lambda reference: adapter_folder(self.store, reference, path.parent),
            pick=(lambda plan, rule: pick(compare(plan, self.sources()), rule, str(path))) if picks else None,
            progress=lambda done, total: self.progress("checking the data", done, total),
        )

    def view(self, resolved: Resolved) -> PlanView:
        """The plan with its estimate. Raises BudgetError, CredentialsError or MissingExtraError."""
        return preview(resolved, self.store, self.credentials().mapping(), self.clock.now())

    def credentials(self) -> Credentials:
        """The environment with `.env`."""
        return environment(self.env, self.cwd)

    def own_prices(self) -> Mapping[str, Mapping[str, OwnPrice]]:
        """`[prices]` of ftorch.toml."""
        return load_settings(self.cwd, self.env).prices

    def sources(self, *, is_live: bool = False) -> Sources:
        """Where a comparison looks: the price book, the credentials, earlier jobs."""
        return Sources(
            book=price_book(self.own_prices(), self.home.prices),
            credentials=self.credentials(),
            tx=self.store.read() if self.store else None,
            today=self.clock.now().date(),
            is_live=is_live,
        )
