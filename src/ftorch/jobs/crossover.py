"""The day on which a fine-tune has paid for itself: looked for once a day, told once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import structlog

from ftorch.core.errors import FtorchError
from ftorch.jobs.context import Context
from ftorch.jobs.notices import Notice, NoticeKind, tell
from ftorch.jobs.pays import lifetime_of
from ftorch.jobs.serving import in_service, label
from ftorch.manifest.settings import load_settings
from ftorch.store import schedule_sql
from ftorch.store.schedule_rows import PromotionRow, VersionRow

log = structlog.get_logger()


def note_crossovers(context: Context, today: date) -> list[str]:
    """Tell of every name whose lines have met since it went into service; returns them.

    The lines are those of `ftorch lifetime`: real spend, and the volume and prices that the manifest states.
    """
    reader = context.store.read()
    names = dict.fromkeys(row.name for row in reader.many(VersionRow, schedule_sql.VERSIONS))
    return [name for name in names if _note(context, name, today)]


def _note(context: Context, name: str, today: date) -> bool:
    reader = context.store.read()
    first = reader.one(PromotionRow, schedule_sql.FIRST_PROMOTION, name=name)
    version = in_service(reader, name)
    job = context.store.job(version.job_id) if version else None
    if first is None or version is None or job is None:
        return False
    try:
        folder = Path(job.manifest_path).parent
        prices = load_settings(folder, context.env).prices
        report = lifetime_of(context.store, job.id, folder, start=first.at.date(), own_prices=prices)
    except FtorchError as error:
        # Most jobs have no lifetime, and that is nobody's fault.
        log.debug("no lifetime", name=name, why=error.message)
        return False
    except Exception:  # the outer edge of one name: an odd job must not keep the others unseen
        log.exception("lifetime raised", name=name)
        return False
    if report.crossover is None or report.crossover.on is None or report.crossover.on > today:
        return False
    notice = Notice(
        kind=NoticeKind.CROSSOVER,
        subject=f"crossover/{name}",
        title=f"{name} has paid for itself: the lines met on {report.crossover.on}",
        text=f"{label(version)} is in service; {report.money_words}; quality: {report.quality.words}",
        hint=f"ftorch lifetime {name}",
        job_id=job.id,
        dollars={
            "train_cost": report.train_cost.amount if report.train_cost else None,
            "saving_over_horizon": report.saving,
        },
        about={"name": name, "version": label(version)},
    )
    context.store.write(lambda tx: tell(context, tx, notice))
    return True
