from __future__ import annotations

import pytest

from ftorch.manifest.credentials import PROVIDER_VARIABLES
from ftorch.manifest.load import parse_manifest
from ftorch.manifest.templates import render


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize("provider", PROVIDER_VARIABLES)
def test_every_template_loads_as_it_is(provider: str, method: str) -> None:
    manifest = parse_manifest(render(provider, method, "support"), "job.yaml")

    assert manifest.provider.names == (provider,)
    assert (manifest.method.type, manifest.name) == (method, "support")
