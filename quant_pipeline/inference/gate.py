"""The gate before training: rows of FEATURES made again through the live path, and held against those that training reads.

The rows are made in a process of its own (`orchestration/audit_process.py`), oldest first, so that no memo, file or module
knows more than the moment did. At some moments everything is made again from the raw bars that had come by then; at the
others, from finished bars cut at the moment, for which the former show that finished and live bars are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

import polars as pl

from quant_pipeline.bars.build import build_bars
from quant_pipeline.features.groups import narrowed
from quant_pipeline.inference.context import gather
from quant_pipeline.inference.faults import AUDIT
from quant_pipeline.inference.inputs import decision_features, foundation_table
from quant_pipeline.inference.window import context_start, cut, read_raw, window_start
from quant_pipeline.validation.audit import prefix_audit

if TYPE_CHECKING:
    from quant_pipeline.features.context import Context
    from quant_pipeline.inference.account import Desk

FROM_RAW = 7
"""Moments of which the bars are made again, too: each costs four times one whose bars are only cut."""
_TICK = timedelta(microseconds=1)


def from_raw(moments: pl.DataFrame, count: int = FROM_RAW) -> list[datetime]:
    """Those of `audit_moments` whose bars are made again as well: the first, and some of every kind, evenly spread."""
    kinds = moments.with_columns(place=pl.int_range(pl.len()).over("kind") / pl.len().over("kind"), of=pl.len().over("kind"))
    middle = kinds.with_columns(away=(pl.col("place") - 0.5).abs().rank("ordinal").over("kind"))
    first = pl.col("decision_at") != pl.col("decision_at").min()
    return middle.sort(first, "away", "decision_at")["decision_at"].head(count).sort().to_list()


@dataclass(frozen=True, eq=False)
class Remaker:
    """Makes rows of FEATURES of `symbol` again, each from what was known at its decision.

    Attributes:
        start: first moment that training looks at.
        end: training cutoff.
        listening: entered while features are computed.
        finished: RUNG BARS by rung as training reads them; None makes them of the raw bars, which takes seconds.
        others: the same of each correlated symbol, on the primary rung.
    """

    desk: Desk
    symbol: str
    start: datetime
    end: datetime
    listening: Callable[[], AbstractContextManager[None]] = nullcontext
    finished: Mapping[str, pl.DataFrame] | None = None
    others: Mapping[str, pl.DataFrame] | None = None

    def row(self, moment: datetime) -> pl.DataFrame:
        """The row decided at `moment`, from finished bars and tables as they were known then; no rows where it has none."""
        rungs = {rung: bars.head(bars["known_at"].search_sorted(moment, "right")) for rung, bars in self._finished.items()}
        return self._features(rungs, self._context.until(moment), moment)

    def row_from_raw(self, moment: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The row decided at `moment`, through the live path from raw bars, and faults of the bars that it read."""
        experiment, calendar = self.desk.experiment, self._calendar
        start = max(self.start, window_start(experiment, calendar, moment))
        rungs = self._bars(cut(self._raw, start, moment, self._calendar), moment)
        context = gather(self.desk, self.symbol, max(self.start, context_start(experiment, calendar, moment)), moment)
        return self._features(rungs, context, moment), self._bar_faults(rungs, start, moment)

    def _features(self, rungs: Mapping[str, pl.DataFrame], context: Context, moment: datetime) -> pl.DataFrame:
        with self.listening():
            made = decision_features(rungs, context, self.desk.experiment, self._calendar, since=moment - _TICK)
        return made.filter(pl.col("decision_at") == moment)

    def _bar_faults(self, live: Mapping[str, pl.DataFrame], start: datetime, moment: datetime) -> pl.DataFrame:
        """Finished bars against those of the live window; its older half has sessions and weeks that the window cuts."""
        recent = pl.col("timestamp") >= start + (moment - start) / 2
        parts = []
        for rung, bars in live.items():
            seen, finished = bars.filter(recent), self._finished[rung].filter(recent)
            found = prefix_audit(partial(_same, seen), finished, [moment], at="known_at")
            parts.append(found.with_columns(audit=pl.lit(AUDIT), where=pl.lit(f"bars/{rung}: ") + pl.col("where")))
        return pl.concat(parts)

    def _bars(self, raw: Mapping[str, pl.DataFrame], moment: datetime) -> dict[str, pl.DataFrame]:
        rules = self.desk.universe.cleaning(self.symbol)
        return build_bars(raw, self._calendar, self.desk.experiment.rungs, as_of=moment, rules=rules)[0]

    @property
    def _calendar(self) -> str:
        return self.desk.universe.symbol(self.symbol).calendar

    @cached_property
    def _raw(self) -> dict[str, pl.DataFrame]:
        return read_raw(self.desk.store, self.symbol, self.start, self.end)

    @cached_property
    def _finished(self) -> Mapping[str, pl.DataFrame]:
        return self._bars(self._raw, self.end) if self.finished is None else self.finished

    @cached_property
    def _context(self) -> Context:
        if self.others is None:
            return gather(self.desk, self.symbol, self.start, self.end)
        experiment = self.desk.experiment
        families = [family for family in experiment.features.families if family != "cross_asset"]
        alone = experiment.model_copy(update={"features": narrowed(experiment.features, families)})
        return replace(gather(self.desk._replace(experiment=alone), self.symbol, self.start, self.end), others=self.others)

    def prepare(self) -> None:
        """Read what is read from the stores and the foundation model, so that what is read later is a feature's own."""
        bars, settings = self._finished[self.desk.experiment.primary], self.desk.experiment.foundation
        _ = self._context
        if settings.model and bars.height:
            foundation_table(bars, settings, since=bars["known_at"][-1] - _TICK)


def _same(frame: pl.DataFrame, _: datetime) -> pl.DataFrame:
    return frame
