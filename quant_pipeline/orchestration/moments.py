"""The one moment of a run: all its assets work at it, however long they take, and with one training cutoff."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dagster as dg

    from quant_pipeline.orchestration.house import House

NOW, CUTOFFS, DECISION = "quant/now", "quant/cutoffs", "quant/decision"


def moment_tags(house: House) -> dict[str, str]:
    """Tags that tell every Dagster run of one `quant run` its moment and its training cutoffs."""
    cutoffs = {symbol: cutoff.isoformat() for symbol, cutoff in house.cutoffs.items()}
    return {NOW: house.workplace.now().isoformat(), CUTOFFS: json.dumps(cutoffs)}


def pinned(house: House, context: dg.AssetExecutionContext) -> House:
    """The house at the moment of the run: of its tags, else when it started; a house whose clock is pinned keeps that."""
    tags: Mapping[str, str] = context.run.tags
    cutoffs = {symbol: datetime.fromisoformat(text) for symbol, text in json.loads(tags.get(CUTOFFS, "{}")).items()}
    if NOW in tags:
        return house.at(datetime.fromisoformat(tags[NOW]), cutoffs)
    return house.at(house.workplace.as_of or _started(context), cutoffs)


def told_decisions(context: dg.AssetExecutionContext) -> list[datetime]:
    """The decision moments that the schedule asked this run for; none of a run that somebody started."""
    return decisions_of(context.run.tags)


def decisions_of(tags: Mapping[str, str]) -> list[datetime]:
    """The decision moments in the tags of a run."""
    return [datetime.fromisoformat(text) for text in tags.get(DECISION, "").split()]


def _started(context: dg.AssetExecutionContext) -> datetime:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None:
        return datetime.now(UTC)
    return datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp.astimezone(UTC)
