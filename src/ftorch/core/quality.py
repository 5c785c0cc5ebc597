"""Whether the tuned model may stand in for the hosted one: found on held-out rows, needed by the lifetime."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class QualityState(StrEnum):
    """Whether the tuned model may stand in for the hosted one."""

    AT_LEAST_HOSTED = "at_least_hosted"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True)
class Quality:
    """What held-out rows say about tuned against hosted, with the sentence that explains it."""

    state: QualityState
    words: str


NOT_MEASURED = Quality(QualityState.NOT_MEASURED, "the hosted model has not answered the held-out rows")
