"""JSON schemas of what people write, for editors: `ftorch schema manifest|settings`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ftorch.manifest.schema import Manifest
from ftorch.manifest.settings import Settings

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """The schema of a job manifest."""
    return _schema(Manifest, "urn:ftorch:manifest:1", "ftorch job manifest, version 1")


def settings_schema() -> dict[str, Any]:
    """The schema of ftorch.toml."""
    return _schema(Settings, "urn:ftorch:settings:1", "ftorch settings (ftorch.toml)")


def _schema(model: type[BaseModel], name: str, title: str) -> dict[str, Any]:
    # A URN: the schema comes with the package, and no address is promised.
    return {"$schema": _DRAFT, "$id": name, **model.model_json_schema(mode="validation"), "title": title}
