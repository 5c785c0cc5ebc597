"""The provider `modal`: a GPU sandbox for each run, its files on one Volume, its key as the sandbox's name and tag.

This is its face. Modal's client takes half a second to import, so what needs it is in `site.py`, opened at the first
call.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from ftorch.core.clock import Clock, SystemClock
from ftorch.core.paths import Home
from ftorch.costs.items import LineItem, Quote, Window
from ftorch.manifest.plan import Plan
from ftorch.providers.base import (
    Account,
    Artifact,
    Bundle,
    Capabilities,
    LogPage,
    Observation,
    Placement,
    RunOrder,
    RunRef,
    Staged,
    StagedContent,
)
from ftorch.providers.modal import machines
from ftorch.providers.modal.capabilities import CAPABILITIES, CREATE_DEADLINE_S
from ftorch.providers.modal.orders import check
from ftorch.providers.modal.settings import Settings

if TYPE_CHECKING:
    from ftorch.providers.modal.site import Site


class ModalProvider:
    """Trains at Modal."""

    name: ClassVar[str] = "modal"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        logs: Path,
        *,
        deadline_s: float | None = None,
        create_deadline_s: float = CREATE_DEADLINE_S,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._logs = logs
        self._deadline_s = deadline_s
        self._create_deadline_s = create_deadline_s
        self._opened: Site | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_env(cls, env: Mapping[str, str], clock: Clock | None = None) -> Self:
        """Reads the variables of `settings.py`, else the login file. Sends nothing."""
        return cls(Settings.from_env(env), clock or SystemClock(), Home.from_env(env).root / "logs")

    @classmethod
    def listed(cls, plan: Plan) -> Sequence[Placement]:
        """The GPUs that the plan accepts, at the prices of the list that we ship."""
        check(plan)
        return machines.placements(plan, {})

    def check(self) -> Account:
        """The workspace that the token belongs to, and the environment in it."""
        return self._site.check()

    def stage(self, plan: Plan, bundle: Bundle) -> Staged:
        """Bring rows and trainer to the Volume, and have the image built."""
        return self._site.stage(plan, bundle)

    def quote(self, plan: Plan, staged: Staged | None) -> Quote | None:
        """None: Modal names no price beforehand."""
        return None

    def placements(self, plan: Plan) -> Sequence[Placement]:
        """The GPUs that the plan accepts, at what this workspace pays."""
        return self._site.placements(plan)

    def submit(self, order: RunOrder) -> RunRef:
        """One create, named by the run's key. Blocks until Modal has a machine, for up to 21 minutes."""
        return self._site.submit(order)

    def start(self, ref: RunRef, order: RunOrder) -> None:
        """Nothing to do: create already starts."""

    def find(self, keys: Collection[str]) -> Mapping[str, Sequence[RunRef]]:
        """Among what lives, what has left a mark, and what has cost something."""
        return self._site.find(keys)

    def observe(self, refs: Collection[RunRef]) -> Mapping[RunRef, Observation]:
        """One list per App; a sandbox that is not in it is asked for by its id."""
        return self._site.observe(refs)

    def logs(self, ref: RunRef, *, cursor: str | None) -> LogPage:
        """What was printed since the cursor; of a released run from our own copy."""
        return self._site.logs(ref, cursor)

    def cancel(self, ref: RunRef) -> None:
        """End the sandbox, with a note on the Volume first: Modal does not tell who ended it."""
        self._site.cancel(ref)

    def fetch(self, ref: RunRef, dest: Path) -> Artifact:
        """Download file by file; what has arrived whole is not asked for again."""
        return self._site.fetch(ref, dest)

    def release(self, ref: RunRef) -> bool:
        """True once the sandbox has ended: nothing else is rented. Brings its log home; drops spent checkpoints."""
        return self._site.release(ref)

    def charges(self, ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
        """Modal's statistics by tag, once they hold all of the run; before that measured time at the rate."""
        return self._site.charges(ref, history)

    def owned(self, installation: str) -> Iterator[RunRef]:
        """All sandboxes in the installation's Apps, those that live and those that have left a mark."""
        return self._site.owned(installation)

    def line_items(self, window: Window) -> Iterator[LineItem]:
        """The workspace's bill by the hour. Raises BillNotEnabledError where the plan has none."""
        return self._site.line_items(window)

    def staged_content(self) -> Iterator[StagedContent]:
        """The bundles on the Volume."""
        return self._site.staged_content()

    def discard(self, content: StagedContent) -> None:
        """Delete a bundle from the Volume."""
        self._site.discard(content)

    def close(self) -> None:
        """Give back the connection. Closing twice is harmless."""
        with self._lock:
            site, self._opened = self._opened, None
        if site is not None:
            site.close()

    @property
    def _site(self) -> Site:
        with self._lock:
            if self._opened is None:
                from ftorch.providers.modal.site import Site  # noqa: PLC0415  half a second, for users of Modal alone

                self._opened = Site.open(
                    self._settings,
                    self._clock,
                    self._logs,
                    deadline_s=self._deadline_s,
                    create_deadline_s=self._create_deadline_s,
                )
            return self._opened
