"""The spec files, `job.json`: what to train or to evaluate. Paths are relative to the spec file's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from ftorch.trainer.errors import DataError, SpecError
from ftorch.trainer.fields import above, at_least, below, read
from ftorch.trainer.files import sha256_file

LARGEST_MICRO_BATCH = 8
ADAPTER_WEIGHTS = "adapter_model.safetensors"

Precision = Literal["auto", "float32", "bfloat16"]
TrackingKeys = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The base model: its canonical id, and the folder that holds it here. Without a folder it comes from the Hub."""

    id: str
    path: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """The adapter's shape. An adapter that training starts from brings its own, and this is not read."""

    rank: Annotated[int, at_least(1)] = 16
    alpha: Annotated[int, at_least(1)] | None = None
    """Twice the rank when not given."""
    dropout: Annotated[float, at_least(0), below(1)] = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"

    @property
    def scale(self) -> int:
        return self.alpha or 2 * self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """Where the curves go besides our own files."""

    wandb: TrackingKeys | None = None
    mlflow: TrackingKeys | None = None
    trackio: TrackingKeys | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """One training job."""

    version: Literal[1]
    method: Literal["sft", "dpo"]
    base_model: BaseModel
    from_adapter: str | None = None
    train_file: str
    train_sha256: str
    validation_file: str | None = None
    validation_sha256: str | None = None
    lora: Lora = field(default_factory=Lora)
    epochs: Annotated[float, above(0)] = 3.0
    max_steps: Annotated[int, at_least(1)] | None = None
    learning_rate: Annotated[float, above(0)] = 2e-4
    batch_size: Annotated[int, at_least(1)] = 16
    micro_batch_size: Annotated[int, at_least(1)] | None = None
    max_length: Annotated[int, at_least(2)] = 1024
    train_on: Literal["completion", "all"] = "completion"
    seed: Annotated[int, at_least(0)] = 42
    beta: Annotated[float, above(0)] = 0.1
    warmup_ratio: Annotated[float, at_least(0), below(1)] = 0.05
    scheduler: Literal["linear", "cosine"] = "linear"
    weight_decay: Annotated[float, at_least(0)] = 0.0
    max_grad_norm: Annotated[float, at_least(0)] = 1.0
    save_every_steps: Annotated[int, at_least(1)] = 50
    max_duration_s: Annotated[float, above(0)] | None = None
    quantize: Literal["4bit"] | None = None
    dtype: Precision = "auto"
    threads: Annotated[int, at_least(1)] | None = None
    tracking: Tracking = field(default_factory=Tracking)
    run_name: str | None = None
    resume_from: str | None = None
    workers: Annotated[int, at_least(1)] = 1
    chat_template_kwargs: dict[str, bool | int | str] = field(default_factory=lambda: {"enable_thinking": False})
    """Given to the chat template; a template that does not know a name ignores it."""

    @property
    def share(self) -> int:
        """Rows of a step for each worker: `batch_size` is that of all of them together."""
        return self.batch_size // self.workers

    @property
    def micro_batch(self) -> int:
        """Rows per pass. The rule looks at no device, so a run may move to another machine and stay the same job."""
        return self.micro_batch_size or largest_divisor(self.share, LARGEST_MICRO_BATCH)

    @property
    def accumulation(self) -> int:
        return self.share // self.micro_batch

    def __post_init__(self) -> None:
        if self.batch_size % self.workers:
            raise SpecError(f"workers: {self.workers} cannot share batch_size, {self.batch_size}, evenly")
        if self.share % self.micro_batch:
            each = f", {self.share} for each worker" if self.workers > 1 else ""
            raise SpecError(f"micro_batch_size: {self.micro_batch} does not divide batch_size, {self.batch_size}{each}")
        if "lm_head" in self.lora.targets:
            raise SpecError("lora.targets: 'lm_head' cannot be trained: TRL reads its weights past the adapter")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSpec:
    """One evaluation of a base model, with or without an adapter."""

    version: Literal[1]
    kind: Literal["generate", "preference"]
    base_model: BaseModel
    adapter: str | None = None
    rows_file: str
    rows_sha256: str | None = None
    labels: tuple[str, ...] | None = None
    max_new_tokens: Annotated[int, at_least(1)] | None = None
    batch_size: Annotated[int, at_least(1)] = 8
    max_length: Annotated[int, at_least(2)] = 1024
    max_duration_s: Annotated[float, above(0)] | None = None
    beta: Annotated[float, above(0)] = 0.1
    seed: Annotated[int, at_least(0)] = 42
    threads: Annotated[int, at_least(1)] | None = None
    dtype: Precision = "auto"
    run_name: str | None = None
    chat_template_kwargs: dict[str, bool | int | str] = field(default_factory=lambda: {"enable_thinking": False})

    def __post_init__(self) -> None:
        if self.labels is not None and (self.kind != "generate" or len(set(self.labels)) < len(self.labels)):
            raise SpecError("labels: give each label once, and only with kind generate")
        if self.labels == ():
            raise SpecError("labels: the list is empty; null means no labels")


Spec = TypeVar("Spec", TrainSpec, EvaluateSpec)


@dataclass(frozen=True, slots=True)
class Job(Generic[Spec]):
    """A spec with the place it was read from. `identity` is what decides the outcome; its hash is the fingerprint."""

    spec: Spec
    sha256: str
    root: Path
    identity: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(_canonical(self.identity)).hexdigest()

    def path(self, written: str) -> Path:
        """A path as the spec has it, relative to the spec's folder."""
        return self.root / Path(written).expanduser()


def train_job(text: bytes, root: Path) -> Job[TrainSpec]:
    """Read a training spec. Raises SpecError."""
    spec = read(TrainSpec, _object(text))
    return Job(spec, hashlib.sha256(text).hexdigest(), root, _train_identity(spec, root))


def evaluate_job(text: bytes, root: Path) -> Job[EvaluateSpec]:
    """Read an evaluation spec. Raises SpecError."""
    spec = read(EvaluateSpec, _object(text))
    return Job(spec, hashlib.sha256(text).hexdigest(), root, _evaluate_identity(spec, root))


def largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)


def differing(identity: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names under which two identities differ."""
    names = {*identity, *other}
    return sorted(name for name in names if _canonical(identity.get(name)) != _canonical(other.get(name)))


def _train_identity(spec: TrainSpec, root: Path) -> dict[str, Any]:
    same = ("method", "epochs", "max_steps", "learning_rate", "batch_size", "max_length", "seed", "warmup_ratio")
    more = ("scheduler", "weight_decay", "max_grad_norm", "quantize", "dtype", "workers", "chat_template_kwargs")
    return {
        **{name: getattr(spec, name) for name in (*same, *more)},
        "base_model": [spec.base_model.id, spec.base_model.revision],
        "from_adapter": adapter_sha256(spec.from_adapter, root, "from_adapter"),
        "train_sha256": spec.train_sha256,
        "validation_sha256": spec.validation_sha256,
        "lora": [spec.lora.rank, spec.lora.scale, spec.lora.dropout, _sorted_targets(spec.lora)],
        "micro_batch_size": spec.micro_batch,
        "train_on": spec.train_on if spec.method == "sft" else None,
        "beta": spec.beta if spec.method == "dpo" else None,
    }


def _evaluate_identity(spec: EvaluateSpec, root: Path) -> dict[str, Any]:
    same = ("kind", "labels", "max_new_tokens", "batch_size", "max_length", "beta", "dtype", "chat_template_kwargs")
    return {
        **{name: getattr(spec, name) for name in same},
        "base_model": [spec.base_model.id, spec.base_model.revision],
        "adapter": adapter_sha256(spec.adapter, root, "adapter"),
        "rows_sha256": spec.rows_sha256 or _file_sha256(root / spec.rows_file),
    }


def adapter_sha256(folder: str | None, root: Path, key: str) -> str | None:
    """The hash of an adapter's weights. Raises SpecError where there are none."""
    if folder is None:
        return None
    weights = root / Path(folder).expanduser() / ADAPTER_WEIGHTS
    if not weights.is_file():
        raise SpecError(f"{key}: {folder!r} has no {ADAPTER_WEIGHTS}")
    return sha256_file(weights)


def _file_sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _sorted_targets(lora: Lora) -> str | list[str]:
    return lora.targets if isinstance(lora.targets, str) else sorted(lora.targets)


def _object(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError(f"the spec is not JSON: {error}") from error


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
