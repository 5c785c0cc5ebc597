"""The image that trainings run in: exact versions, built ahead."""

from __future__ import annotations

from collections.abc import Mapping

import modal
from modal import exception as said

from ftorch.core.errors import RunRejectedError
from ftorch.manifest.plan import Plan
from ftorch.providers.modal.sdk import FAILURES, Sdk
from ftorch.providers.modal.workspace import Workspace

PYTHON = "3.12"
PINS = (
    "accelerate==1.15.0",
    "datasets==5.2.0",
    "huggingface_hub==2.4.0",
    "jinja2==3.1.6",
    "peft==0.21.2",
    "safetensors==0.8.0",
    "tokenizers==0.23.3",
    "torch==2.13.0",
    "transformers==5.23.0",
    "trl==1.16.0",
)
"""What ftorch is tested with: a test holds them against constraints.txt."""
_EXTRA: Mapping[str, str] = {"quantize": "bitsandbytes==0.50.2", "wandb": "wandb==0.31.0"}
"""What only some plans need."""
_BUILD_S = 45 * 60.0
_APP = "ftorch-images"


class Images:
    """Images by what is in them. Modal builds each once, in minutes, and has it at once from then on."""

    def __init__(self, sdk: Sdk, workspace: Workspace) -> None:
        self._sdk = sdk
        self._workspace = workspace
        self._built: dict[tuple[str, ...], modal.Image] = {}

    def of(self, plan: Plan, operation: str) -> modal.Image:
        """The image for a plan, built where Modal has it not."""
        asked = {"quantize": plan.method.quantize is not None, "wandb": plan.tracking.wandb is not None}
        extra = tuple(_EXTRA[name] for name, is_asked in asked.items() if is_asked)
        if extra not in self._built:
            self._built[extra] = self._build(extra, operation)
        return self._built[extra]

    def _build(self, extra: tuple[str, ...], operation: str) -> modal.Image:
        app = self._workspace.app(_APP, operation)

        async def call(_client: modal.Client) -> modal.Image:
            image = modal.Image.debian_slim(python_version=PYTHON).uv_pip_install(*PINS, *extra)
            return await image.build.aio(app)

        try:
            return self._sdk.raw(call, deadline_s=_BUILD_S)
        except said.RemoteError as error:
            raise self._failed(error, operation) from error
        except FAILURES as error:
            raise self._sdk.translated(error, operation) from error

    def _failed(self, error: said.RemoteError, operation: str) -> RunRejectedError:
        """The same build would fail again, and cost again: a person looks first."""
        return RunRejectedError(
            f"modal could not build the image: {self._sdk.shown(error)}",
            provider="modal",
            operation=operation,
            hint=f"`modal image logs {getattr(error, 'image_id', 'IMAGE')}` says why; then run `ftorch jobs retry JOB`",
        )
