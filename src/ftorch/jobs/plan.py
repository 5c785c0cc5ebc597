"""From a manifest to a plan: data checked and split, defaults written out, everything refused that cannot be done.

Nothing is written and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ftorch.core.errors import Fault, ManifestError, UsageError
from ftorch.core.files import sha256_file
from ftorch.core.paths import Home
from ftorch.core.suggest import did_you_mean
from ftorch.data import Prepared, prepare
from ftorch.data.remote import brought, named
from ftorch.jobs.metrics import check_eval
from ftorch.manifest.catalogue import Base, canonical_id, check_base, find_base
from ftorch.manifest.plan import DatasetFacts, Plan, StartAdapter
from ftorch.manifest.schema import WANDB_KEY, BaseModelRef, Dpo, Manifest, Method
from ftorch.manifest.settings import Settings
from ftorch.providers.base import Capabilities, Feature
from ftorch.providers.registry import provider_class

_BILLION = 10**9
RULES_THAT_PICK = ("cheapest", "fastest")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Picked:
    """What a rule chose: providers in order, frozen in the plan from here on."""

    rule: str
    providers: tuple[str, ...]
    reason: str


Pick = Callable[[Plan, str], Picked]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A plan with the checked dataset that it was counted on."""

    plan: Plan
    prepared: Prepared
    manifest_path: Path
    picked: Picked | None = None
    """Where the manifest left the choice of the provider to a rule: what it chose, and why."""

    def freeze(self, home: Home) -> Path:
        """Keep the rows as they are now, and note the held-out ones. The same rows again change nothing."""
        folder = home.datasets / self.plan.dataset.content_hash
        self.prepared.write(folder)
        self.prepared.write_lock()
        return folder


def resolve(
    manifest: Manifest,
    manifest_path: Path,
    *,
    settings: Settings,
    home: Home,
    adapter_folder: Callable[[str], Path],
    pick: Pick | None,
    progress: Progress | None = None,
) -> Resolved:
    """Resolve a manifest.

    Raises ManifestError, DataError, UsageError or MissingExtraError; each before anything was written or sent.
    `adapter_folder` turns `from_adapter` (a name, a job, a path) into a folder; `pick` turns cheapest or fastest into
    providers; without it no provider is looked at, and the plan fits any of them.
    """
    folder = manifest_path.parent
    base = check_base(manifest.base_model.id, folder)
    _check_labels(manifest, manifest_path, settings)
    if pick is not None:
        _check_providers(manifest, manifest_path)
    method = _effective(manifest.method, base)
    prepared = prepare(
        brought(manifest.dataset, home),
        method,
        folder=folder,
        tokenizer=tokenizer_folder(manifest.base_model, folder, home),
        progress=progress,
    )
    prepared.report.raise_if_errors()
    start = _start_adapter(manifest, manifest_path, adapter_folder)
    plan = Plan(
        name=manifest.name,
        base_model=BaseModelRef(id=_base_id(manifest.base_model.id, folder), revision=manifest.base_model.revision),
        parameters=base.parameters if base else None,
        from_adapter=start,
        method=method,
        dataset=_facts(prepared, manifest),
        providers=manifest.provider.names,
        options=manifest.provider.options,
        resources=manifest.resources,
        secrets=manifest.secrets,
        budget=manifest.budget,
        retry=manifest.retry,
        eval=manifest.eval,
        lifetime=manifest.lifetime,
        task=manifest.task,
        tracking=manifest.tracking,
        schedule=manifest.schedule,
        labels=manifest.labels,
        declared_rates=settings.declared_rates(),
        own_prices=settings.prices,
        budgets=tuple(rule for rule in settings.budgets if rule.counts(manifest.labels)),
    )
    check_eval(plan, str(manifest_path))
    if pick is None:
        return Resolved(plan, prepared, manifest_path)
    picked = pick(plan, plan.providers[0]) if plan.providers[0] in RULES_THAT_PICK else None
    if picked is not None:
        plan = plan.model_copy(update={"providers": picked.providers})
    for name in plan.providers:
        check_capabilities(plan, name, provider_class(name).capabilities, str(manifest_path))
    return Resolved(plan, prepared, manifest_path, picked)


def _facts(prepared: Prepared, manifest: Manifest) -> DatasetFacts:
    """The dataset is called what the manifest calls it, also where a copy of it was read."""
    return prepared.facts.model_copy(update={"source": named(manifest.dataset.path)})


def tokenizer_folder(base: BaseModelRef, folder: Path, home: Home) -> Path | None:
    """Where the base model's own tokenizer lies on this machine, if it does."""
    # The trainer keeps a builtin base under its bare name; a Hub model lies in the Hub's own cache.
    candidates = [folder / base.id, home.bases / base.id.removeprefix("builtin:")]
    return next((path for path in candidates if (path / "tokenizer.json").is_file()), None)


def features(plan: Plan) -> frozenset[Feature]:
    """What the plan asks of a provider beyond the ordinary."""
    method = plan.method
    asked: Mapping[Feature, bool] = {
        Feature.DPO: method.type == "dpo",
        Feature.SFT: method.type == "sft",
        Feature.TRAIN_ON_ALL: getattr(method, "train_on", "completion") == "all",
        Feature.MAX_STEPS: method.max_steps is not None,
        Feature.PART_EPOCHS: not float(method.epochs).is_integer(),
        Feature.LORA_TARGETS: method.lora.targets != "all-linear",
        Feature.QUANTIZE_4BIT: method.quantize is not None,
        Feature.FROM_ADAPTER: plan.from_adapter is not None,
        Feature.REVISION: plan.base_model.revision is not None,
        Feature.BASE_FOLDER: Path(plan.base_model.id).is_absolute(),
        Feature.BUILTIN_BASE: plan.base_model.id.startswith("builtin:"),
        Feature.VALIDATION: plan.dataset.validation_rows > 0,
        Feature.WORKERS: plan.resources.workers > 1,
        Feature.GPU_CHOICE: bool(plan.resources.gpu),
        Feature.SECRETS: bool(plan.secrets.keys() - _of_tracking(plan)),
        Feature.WANDB: plan.tracking.wandb is not None,
        Feature.MLFLOW: plan.tracking.mlflow is not None,
        Feature.TRACKIO: plan.tracking.trackio is not None,
    }
    return frozenset(feature for feature, is_asked in asked.items() if is_asked)


def _of_tracking(plan: Plan) -> set[str]:
    """The secrets that the plan's tracking needs: they are not for the run itself."""
    return {WANDB_KEY} if plan.tracking.wandb else set()


def check_capabilities(plan: Plan, name: str, capabilities: Capabilities, file: str) -> None:
    """Refuse what the provider cannot do, with its own sentence, and options that it does not know."""
    faults = [Fault(sentence, file=file, key=f"provider {name}") for sentence in refusals(plan, capabilities)]
    faults += [Fault(words, file=file, key=key) for key, words in _uneven_shares(plan)]
    for key, value in plan.options.get(name, {}).items():
        if fault := _option_fault(name, key, value, capabilities.options):
            faults.append(Fault(fault, file=file, key=f"provider.{name}.{key}"))
    if faults:
        raise ManifestError(faults)


def _uneven_shares(plan: Plan) -> Iterator[tuple[str, str]]:
    """What several workers could not share: `batch_size` is that of all of them together."""
    method, workers = plan.method, plan.resources.workers
    if method.batch_size % workers:
        yield "method.batch_size", f"{method.batch_size} rows cannot be shared by {workers} workers; use a multiple"
    elif workers > 1 and method.micro_batch_size and (method.batch_size // workers) % method.micro_batch_size:
        each = method.batch_size // workers
        yield (
            "method.micro_batch_size",
            f"must divide the {each} rows of each worker; {method.micro_batch_size} does not",
        )


def refusals(plan: Plan, capabilities: Capabilities) -> list[str]:
    """The provider's own sentences about what the plan asks and it cannot do; empty when it can do it all."""
    asked = features(plan)
    return [sentence for feature, sentence in capabilities.unsupported.items() if feature in asked]


def _option_fault(name: str, key: str, value: object, known: Mapping[str, type]) -> str | None:
    if key not in known:
        return f"not an option of {name}{did_you_mean(key, known)}; it has: {', '.join(sorted(known)) or 'none'}"
    if not isinstance(value, known[key]) or isinstance(value, bool) is not (known[key] is bool):
        return f"must be {known[key].__name__}, not {value!r}"
    return None


def _effective(method: Method, base: Base | None) -> Method:
    """The method with every default written out: providers' own defaults differ."""
    lora = method.lora.model_copy(update={"alpha": method.lora.alpha or 2 * method.lora.rank})
    rate = method.learning_rate or _learning_rate(method, base)
    return method.model_copy(update={"lora": lora, "learning_rate": rate})


def _learning_rate(method: Method, base: Base | None) -> float:
    """LoRA's usual rates: DPO far below SFT, small models above large ones (measured on SmolLM2-135M)."""
    if isinstance(method, Dpo):
        return 2e-5
    return 1e-3 if base and base.parameters and base.parameters < _BILLION // 2 else 2e-4


def _start_adapter(manifest: Manifest, path: Path, adapter_folder: Callable[[str], Path]) -> StartAdapter | None:
    if manifest.from_adapter is None:
        return None
    try:
        folder = adapter_folder(manifest.from_adapter)
    except UsageError as error:
        raise ManifestError([Fault(error.message, file=str(path), key="from_adapter", hint=error.hint)]) from error
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise ManifestError([Fault(f"{folder} holds no adapter", file=str(path), key="from_adapter")])
    return StartAdapter(path=str(folder), sha256=sha256_file(weights))


def _base_id(base_id: str, folder: Path) -> str:
    """A folder becomes its absolute path: the plan must not depend on where the manifest lies.

    A provider's own id becomes the canonical one: the next provider of the list would not know it.
    """
    if base := find_base(base_id):
        return base_id if base_id == base.alias else base.id
    return str((folder / base_id).resolve()) if (folder / base_id).is_dir() else base_id


def _check_labels(manifest: Manifest, path: Path, settings: Settings) -> None:
    missing = [label for label in settings.required_labels if label not in manifest.labels]
    if missing:
        faults = [Fault(f"ftorch.toml requires the label {label!r}", file=str(path), key="labels") for label in missing]
        raise ManifestError(faults, hint=f"add it to the manifest: labels: {{{missing[0]}: ...}}")


def _check_providers(manifest: Manifest, path: Path) -> None:
    """Before the data is read: a name that is nobody's need not wait for a pass over gigabytes."""
    names = manifest.provider.names
    for name in names:
        if name not in RULES_THAT_PICK:
            provider_class(name)
        elif len(names) > 1:
            words = f"{name!r} picks from all providers, so it stands alone; name providers in order, or only {name!r}"
            raise ManifestError([Fault(words, file=str(path), key="provider.name")])


__all__ = [
    "RULES_THAT_PICK",
    "Pick",
    "Picked",
    "Resolved",
    "canonical_id",
    "check_capabilities",
    "features",
    "refusals",
    "resolve",
    "tokenizer_folder",
]
