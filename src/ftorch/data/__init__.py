"""The data layer: rows checked, split, counted and frozen, before anything is sent.

`prepare` does it all without writing; `Prepared.write` and `Prepared.write_lock` are called when a job is taken in.
"""

from __future__ import annotations

from ftorch.data.freeze import FILE_NAMES, Prepared, prepare
from ftorch.data.lock import LOCK_NAME
from ftorch.data.read import Progress
from ftorch.data.records import Completion, Kind, Message, Preference, Record, Split
from ftorch.data.report import Finding, Report
from ftorch.data.rules import CATALOGUE, Level, Rule
from ftorch.data.tokens import TokenCount

__all__ = [
    "CATALOGUE",
    "FILE_NAMES",
    "LOCK_NAME",
    "Completion",
    "Finding",
    "Kind",
    "Level",
    "Message",
    "Preference",
    "Prepared",
    "Progress",
    "Record",
    "Report",
    "Rule",
    "Split",
    "TokenCount",
    "prepare",
]
