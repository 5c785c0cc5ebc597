"""The moments at which a process is killed: fixed ones for each kind of write, the rest drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Who is killed, and when. See hook/sitecustomize.py."""

    kind: str
    who: str
    what: str
    text: str
    count: int = 1

    @property
    def order(self) -> str:
        return f"{self.who}|{self.what}|{self.text}|{self.count}"

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.who}-{self.what.partition(':')[0]}-{self.count}"


FIXED = (
    Moment("import", "trainer", "audit:import", "transformers"),
    Moment("import", "trainer", "audit:import", "trl"),
    Moment("import", "trainer", "audit:import", "torch"),
    Moment("checkpoint", "trainer", "audit:os.rename", ".complete"),
    Moment("checkpoint", "trainer", "audit:os.rename", ".complete", 2),
    Moment("checkpoint", "trainer", "audit:open", "optimizer.pt"),
    Moment("checkpoint", "trainer", "audit:open", "trainer_state.json", 2),
    Moment("result", "trainer", "audit:os.rename", "result.json"),
    Moment("result", "trainer", "audit:os.rename", "adapter.partial"),
    Moment("result", "trainer", "after", "ftorch.trainer.result:export"),
    Moment("fetch", "daemon", "before", "ftorch.providers.local.provider:LocalProvider.fetch"),
    Moment("fetch", "daemon", "after", "ftorch.providers.local.provider:LocalProvider.fetch"),
    Moment("fetch", "daemon", "audit:os.rename", ".adapter_model.safetensors"),
    Moment("fetch", "daemon", "audit:os.rename", "receipt.json"),
    Moment("fetch", "daemon", "after", "ftorch.jobs.receipt:write_receipt"),
    Moment("fetch", "daemon", "before", "ftorch.jobs.fetch:_note"),
    Moment("ledger", "daemon", "before", "ftorch.costs.ledger:post"),
    Moment("ledger", "daemon", "after", "ftorch.costs.ledger:post"),
    Moment("ledger", "daemon", "after", "ftorch.jobs.bills:_post"),
    Moment("submit", "daemon", "before", "ftorch.providers.local.provider:LocalProvider.submit"),
    Moment("submit", "daemon", "after", "ftorch.providers.local.provider:LocalProvider.submit"),
    Moment("submit", "daemon", "audit:os.rename", "order.json"),
    Moment("start", "daemon", "before", "ftorch.providers.local.provider:LocalProvider.start"),
    Moment("start", "daemon", "after", "ftorch.providers.local.process:spawn"),
    Moment("stage", "daemon", "after", "ftorch.jobs.bundle:make_bundle"),
    Moment("stage", "daemon", "after", "ftorch.jobs.stage:open_run"),
    Moment("release", "daemon", "after", "ftorch.providers.local.provider:LocalProvider.release"),
    Moment("admit", "cli", "before", "ftorch.jobs.admit:admit"),
    Moment("admit", "cli", "after", "ftorch.jobs.admit:admit"),
    Moment("admit", "cli", "audit:os.rename", "train.jsonl"),
)


def moments(total: int, seed: int) -> list[Moment]:
    """The fixed moments, then seeded ones until there are `total`."""
    chance = random.Random(seed)
    drawn = [_draw(chance) for _ in range(max(0, total - len(FIXED)))]
    return [*FIXED[:total], *drawn]


def _draw(chance: random.Random) -> Moment:
    kinds = (
        Moment("import", "trainer", "audit:import", "", chance.randint(50, 3000)),
        Moment("step", "trainer", "before", "ftorch.trainer.callbacks:Reporter.on_step_end", chance.randint(1, 19)),
        Moment("commit", "daemon", "before", "ftorch.store.writer:Writer._commit", chance.randint(1, 14)),
        Moment("commit", "daemon", "after", "ftorch.store.writer:Writer._commit", chance.randint(1, 14)),
        Moment("rename", "daemon", "audit:os.rename", "", chance.randint(1, 12)),
    )
    return chance.choice(kinds)
