"""Whether there is something to train: what the manifest's data and prices are now, against what was seen before.

A schedule without a job starts one whatever its triggers say. The data is read only where the bytes of its files
changed since it was last found unchanged, or where something else than the data decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from ftorch.core.files import sha256_file
from ftorch.costs.budget import Limit
from ftorch.jobs.allowance import rules
from ftorch.jobs.context import Context
from ftorch.jobs.pays import Question, ready
from ftorch.jobs.plan import Resolved
from ftorch.jobs.planner import Planner
from ftorch.jobs.states import CANCELLED, TERMINAL, JobState
from ftorch.manifest.lifetime import OfLogs
from ftorch.manifest.schedule import ALWAYS, DATASET_CHANGED, HOSTED_CHANGED, EvaluationBelow, NewRows, Schedule
from ftorch.manifest.schema import HeldOutFile, Manifest
from ftorch.schedule.allowance import limit_of
from ftorch.schedule.fresh import fall_below, new_rows
from ftorch.store import JobRow, sql


@dataclass(frozen=True)
class Looked:
    """A manifest as it is now, beside the newest training of its name. What costs time is read when it is asked for."""

    context: Context
    planner: Planner
    manifest: Manifest
    path: Path
    rule: Schedule
    seen: Mapping[str, Any]
    source: str
    """The dataset as the manifest names it; `manifest` has the copy of one that lies elsewhere."""

    @cached_property
    def resolved(self) -> Resolved:
        """The data checked and counted. Raises what `plan` raises."""
        found = self.planner.resolve(self.manifest)
        facts = found.plan.dataset.model_copy(update={"source": self.source})
        return replace(found, plan=found.plan.model_copy(update={"dataset": facts}))

    @cached_property
    def baseline(self) -> JobRow | None:
        """The newest job of this name that trains or has trained; its data is what was seen last."""
        jobs = self.context.store.read().many(JobRow, sql.JOBS_BY_NAME, name=self.manifest.name)
        return next((job for job in jobs if _counts(job)), None)

    @cached_property
    def files(self) -> str | None:
        """SHA-256 over the dataset's files as they lie there; None where one cannot be read."""
        dataset = self.manifest.dataset
        asked = (dataset.held_out, dataset.validation)
        named = [dataset.path, *(one.path for one in asked if isinstance(one, HeldOutFile))]
        try:
            return " ".join(sha256_file(self.path.parent / name) for name in named)
        except OSError:
            return None

    @cached_property
    def hosted(self) -> str | None:
        """What the hosted model costs and until when it is there, as text that changes when that does.

        Where no trigger asks for it a price that nobody knows keeps nothing from being trained.
        """
        block = self.manifest.lifetime
        if block is None or HOSTED_CHANGED not in self.rule.when:
            return None
        shutdown = block.hosted_shutdown.isoformat() if block.hosted_shutdown else "none"
        if isinstance(block.hosted, OfLogs):
            # New calls in a log are no new price.
            return f"{block.hosted.model or 'all models of the log'}, shutdown {shutdown}"
        asked = Question(block, None, None, self.path.parent)
        now = ready(asked, self.planner.own_prices(), self.context.clock.now().date()).block.hosted
        figures = now.model_dump(mode="json", exclude={"source"})
        return f"{json.dumps(figures, sort_keys=True)}, shutdown {shutdown}"

    def limits(self) -> Sequence[Limit]:
        """What bounds the schedule's spend, as it stands now."""
        reader, now = self.context.store.read(), self.context.clock.now()
        own = [limit_of(reader, self.manifest.name, self.rule.budget, now)] if self.rule.budget else []
        return [*own, *rules(reader, self.resolved.plan, now)]

    @cached_property
    def ground(self) -> str | None:
        """What an answer about the data rests on: the rule, the manifest, the files and what was trained last.

        None where a file cannot be read.
        """
        if self.files is None:
            return None
        trained = self.baseline.id if self.baseline else ""
        parts = (self.rule.model_dump_json(), self.manifest.model_dump_json(), trained, self.files)
        return sha256("\0".join(parts).encode()).hexdigest()

    @property
    def next_seen(self) -> dict[str, str | None]:
        """What the next look compares with; and what it compares with should nothing come of this one's job."""
        return {"ground": self.ground, "hosted": self.hosted, "hosted_before": self.seen.get("hosted")}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the triggers say: `why` there is something to train, or None with the words for it."""

    why: str | None
    words: str = ""


def ask(looked: Looked) -> Answer:
    """Ask the triggers in their order; the first that holds decides."""
    if looked.rule.always:
        return Answer("always")
    if looked.baseline is None:
        return Answer("nothing of this name was trained yet")
    if _only_data_decides(looked.rule) and looked.ground and looked.ground == looked.seen.get("ground"):
        return Answer(None, "the files of the dataset are what they were")
    said = []
    for trigger in looked.rule.when:
        found = _ASK[trigger if isinstance(trigger, str) else type(trigger)](looked, trigger)
        if found.why is not None:
            return found
        said.append(found.words)
    return Answer(None, "; ".join(said))


def _always(_looked: Looked, _trigger: Any) -> Answer:
    return Answer("always")


def _dataset_changed(looked: Looked, _trigger: Any) -> Answer:
    then, now = _dataset_of(looked), looked.resolved.plan.dataset.content_hash
    if then == now:
        return Answer(None, f"the dataset is still {now[:12]}")
    return Answer(f"the dataset changed from {then[:12]} to {now[:12]}")


def _new_rows(looked: Looked, trigger: NewRows) -> Answer:
    assert looked.baseline is not None
    count = len(new_rows(looked.context, looked.resolved, looked.baseline))
    words = f"{count} rows are new since job {looked.baseline.id}"
    if count >= trigger.new_rows:
        return Answer(words)
    return Answer(None, f"{words}, {trigger.new_rows} are asked for")


def _evaluation_below(looked: Looked, trigger: EvaluationBelow) -> Answer:
    found = fall_below(looked.context, looked.resolved, trigger, looked.limits)
    return Answer(found.words) if found.is_below else Answer(None, found.words)


def _hosted_changed(looked: Looked, _trigger: Any) -> Answer:
    then, now = looked.seen.get("hosted"), looked.hosted
    if then is None or then == now:
        return Answer(None, "the hosted model's price and shutdown are what they were")
    return Answer(f"the hosted model changed from {then} to {now}")


_ASK: Mapping[object, Callable[[Looked, Any], Answer]] = {
    ALWAYS: _always,
    DATASET_CHANGED: _dataset_changed,
    HOSTED_CHANGED: _hosted_changed,
    NewRows: _new_rows,
    EvaluationBelow: _evaluation_below,
}


def _dataset_of(looked: Looked) -> str:
    assert looked.baseline is not None
    return looked.context.plan(looked.baseline).dataset.content_hash


def _only_data_decides(rule: Schedule) -> bool:
    return all(trigger == DATASET_CHANGED or isinstance(trigger, NewRows) for trigger in rule.when)


def _counts(job: JobRow) -> bool:
    state = JobState(job.state)
    return job.desired != CANCELLED and (state == JobState.SUCCEEDED or state not in TERMINAL)
