"""The way to the one create: everything laid out first, so that the create itself is one request."""

from __future__ import annotations

import modal

from ftorch.core.clock import Clock
from ftorch.core.errors import FtorchError, NoCapacityError, ProviderUnavailableError, SubmitUnknownError
from ftorch.providers.base import RunOrder
from ftorch.providers.modal import names, orders, readings
from ftorch.providers.modal.creation import NameTakenError, NewSandbox, create, secrets_of
from ftorch.providers.modal.image import Images
from ftorch.providers.modal.machines import machine_of
from ftorch.providers.modal.names import MACHINE_TAG, RUN_TAG, Mark
from ftorch.providers.modal.sdk import Sdk
from ftorch.providers.modal.search import Search
from ftorch.providers.modal.volume import Files
from ftorch.providers.modal.workspace import Workspace


class Submitting:
    """Creates sandboxes, and knows which of them were stopped while their create was still waiting."""

    def __init__(
        self,
        sdk: Sdk,
        workspace: Workspace,
        files: Files,
        images: Images,
        search: Search,
        clock: Clock,
        deadline_s: float,
    ) -> None:
        self._sdk = sdk
        self._images = images
        self._workspace = workspace
        self._files = files
        self._search = search
        self._clock = clock
        self._deadline_s = deadline_s
        self._stopped: dict[str, Mark] = {}

    def submit(self, order: RunOrder) -> Mark:
        """The sandbox that was made for the order, or that an earlier create had made."""
        new = self._laid_out(order)
        if self._clock.now() > order.send_before:
            words = "the time to send submit to modal has passed; nothing was sent"
            raise ProviderUnavailableError(words, provider="modal", operation="submit")
        try:
            sandbox_id = create(self._sdk, new, self._deadline_s)
        except NameTakenError as error:
            return self._adopted(order.key, error)
        except NoCapacityError:
            self._make_sure(order.key)
            raise
        except SubmitUnknownError:
            if order.key in self._stopped:
                # It waited for a machine and was ended meanwhile, by us: nothing is unknown about it.
                return self._stopped[order.key]
            raise
        self._workspace.remember(sandbox_id, new.tags)
        return Mark(order.key, sandbox_id, new.app.name or "")

    def stopped(self, mark: Mark) -> None:
        """A sandbox is about to be ended; its create may still be waiting."""
        self._stopped[mark.key] = mark

    def _laid_out(self, order: RunOrder) -> NewSandbox:
        earlier = order.resume_from.key if order.resume_from else None
        self._files.write(orders.run_files(order, readings.resumable(self._files, earlier)), "submit")
        name = names.app_name(order.key, order.plan.labels)
        app = self._workspace.app(name, "submit", names.tags(order.plan.labels))
        machine, options = machine_of(order.placement), order.plan.options.get("modal", {})

        async def call(client: modal.Client) -> tuple[modal.Volume, tuple[modal.Secret, ...]]:
            return await self._files.volume(client), await secrets_of(client, order.secrets, options.get("secret"))

        volume, secrets = self._sdk.run("submit", call)
        return NewSandbox(
            app=app,
            name=order.key,
            argv=orders.argv(order, name),
            tags={RUN_TAG: order.key, MACHINE_TAG: machine.tag},
            image=self._images.of(order.plan, "submit"),
            volume=volume,
            secrets=secrets,
            machine=machine,
            timeout_s=orders.timeout_s(order),
            hidden=tuple(order.secrets.values()),
        )

    def _adopted(self, key: str, error: Exception) -> Mark:
        """What holds the run's name is the run: nobody else makes this key."""
        for mark in self._search.live(key, "submit"):
            return mark
        words = f"modal says that a sandbox {key} lives, and does not list it"
        raise SubmitUnknownError(words, provider="modal", operation="submit") from error

    def _make_sure(self, key: str) -> None:
        """The client ends a sandbox that found no machine, and does not say so when it could not."""
        try:
            left = self._search.live(key, "submit")
            for mark in left:
                self._workspace.terminate(mark.sandbox_id, "submit")
        except FtorchError as error:
            words = f"modal had no machine, and nobody can tell whether the sandbox still waits: {error.message}"
            raise SubmitUnknownError(words, provider="modal", operation="submit") from error
