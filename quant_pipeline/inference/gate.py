"""The gate before training: rows of FEATURES made again through the live path, and held against those that training reads.

The rows are made in a process of its own (`orchestration/audit_process.py`), oldest first, so that no memo, file or module
knows more than the moment did. At some moments everything is made again from the raw bars that had come by then; at the
others, from finished bars cut at the moment, for which the former show that finished and live bars are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

import polars as pl

from quant_pipeline.bars.build import build_bars
from quant_pipeline.errors import LeakageError
from quant_pipeline.features.groups import narrowed
from quant_pipeline.inference.context import gather
from quant_pipeline.inference.inputs import decision_features, foundation_table
from quant_pipeline.inference.window import context_start, cut, read_raw, window_start
from quant_pipeline.validation.audit import FAULTS, prefix_audit

if TYPE_CHECKING:
    from quant_pipeline.features.context import Context
    from quant_pipeline.inference.account import Desk

AUDIT = "live path"
FAILS = "fail when only their own past is there"
OUTSIDE = "reads a table that the pipeline does not know"
FROM_RAW = 7
"""Moments of which the bars are made again, too: each costs four times one whose bars are only cut."""
NAMED = 8
"""Columns that a message names before it counts the others."""
_KEYS = ("timestamp", "decision_at")
_TICK = timedelta(microseconds=1)


def from_raw(moments: pl.DataFrame, count: int = FROM_RAW) -> list[datetime]:
    """Those of `audit_moments` whose bars are made again as well: some of every kind, evenly spread."""
    kinds = moments.with_columns(place=pl.int_range(pl.len()).over("kind") / pl.len().over("kind"), of=pl.len().over("kind"))
    middle = kinds.with_columns(away=(pl.col("place") - 0.5).abs().rank("ordinal").over("kind"))
    return middle.sort("away", "decision_at")["decision_at"].head(count).sort().to_list()


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
    def _finished(self) -> dict[str, pl.DataFrame]:
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


def faults_of(
    again: Sequence[pl.DataFrame], bar_faults: Sequence[pl.DataFrame], accesses: Iterable[Sequence[str]], stored: pl.DataFrame,
    moments: Sequence[datetime],
) -> pl.DataFrame:  # fmt: skip
    """All faults: what features opened, bars that changed later, columns that differ; one row for each of these."""
    bars = pl.concat(bar_faults) if bar_faults else pl.DataFrame(schema=FAULTS)
    merged = bars.group_by("audit", "where", "fault", maintain_order=True).agg(
        pl.col("rows").sum(), pl.col("first_at").min(), pl.col("found", "wanted").first()
    )
    failed = (bars["fault"] == FAILS).any()
    asked = [moment for row in again for moment in row["decision_at"]] if failed else moments
    return pl.concat([access_faults(accesses), merged.select(list(FAULTS)), row_faults(again, stored, asked)])


def row_faults(again: Sequence[pl.DataFrame], stored: pl.DataFrame, moments: Sequence[datetime]) -> pl.DataFrame:
    """Faults of the columns of `stored` FEATURES that differ, in any bit, from the rows made `again` at `moments`.

    A column that was not made again counts as null: a table or a volume that was absent then. A row that was not made again
    is a fault, and so is a column that no row of `again` has.
    """
    told = pl.concat(again, how="diagonal") if again else stored.clear()
    kept = stored.filter(pl.col("decision_at").is_in(pl.Series(list(moments), dtype=stored["decision_at"].dtype).implode()))
    faults = [
        _fault(
            "decision_at",
            "rows cannot be made again from their own past",
            kept.join(told, on="decision_at", how="anti")["decision_at"],
        )
    ]
    before, after = (
        kept.join(told.select("decision_at"), on="decision_at", how="semi").sort("decision_at"),
        told.sort("decision_at"),
    )
    for name in kept.columns:
        if name in _KEYS:
            continue
        if name not in after.columns:
            faults.append(
                _fault(name, "cannot be made again in a fresh process", before["decision_at"].filter(before[name].is_not_null()))
            )
            continue
        differs = before[name].ne_missing(after[name])
        found, wanted = (str(frame[name].filter(differs).first()) for frame in (before, after))
        faults.append(_fault(name, "differs from what was known then", before["decision_at"].filter(differs), found, wanted))
    return pl.DataFrame([fault for fault in faults if fault["rows"]], schema=FAULTS)


def failure_fault(who: str, said: str) -> pl.DataFrame:
    """The fault of a feature that cannot be computed when only its own past is there; `said` is the last thing heard."""
    row = {
        "audit": AUDIT,
        "where": who,
        "fault": FAILS,
        "rows": 1,
        "found": said[:500],
        "wanted": "a row of every decision",
    }
    return pl.DataFrame([row], schema=FAULTS)


def access_faults(accesses: Iterable[Sequence[str]]) -> pl.DataFrame:
    """Faults of what feature code opened: (feature, file and line, what was opened)."""
    rows = [
        {
            "audit": "outside table",
            "where": who,
            "fault": OUTSIDE,
            "rows": 1,
            "found": f"{what}, opened in {file}",
            "wanted": "inputs only",
        }
        for who, file, what in sorted(set(map(tuple, accesses)))
    ]
    return pl.DataFrame(rows, schema=FAULTS)


def leakage(symbol: str, faults: pl.DataFrame) -> LeakageError:
    """The error that names the leaking columns, what each does and the mend."""
    return LeakageError(
        f"features of {symbol}", found=summary(faults), wanted="only values that were known at their decision", mend=_mend(faults)
    )


def summary(faults: pl.DataFrame) -> str:
    """The columns by what is wrong with them, in a line."""
    groups = faults.group_by("fault", maintain_order=True).agg(
        pl.col("where").unique(maintain_order=True), pl.col("found").first()
    )
    return "; ".join(_named(row) for row in groups.iter_rows(named=True))


def _named(group: Mapping[str, object]) -> str:
    names = list(group["where"])  # type: ignore[call-overload]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    path = f" ({group['found']})" if group["fault"] in (OUTSIDE, FAILS) else ""
    return f"{', '.join(names[:NAMED])}{more}: {group['fault']}{path}"


def _mend(faults: pl.DataFrame) -> str:
    if (faults["fault"] == OUTSIDE).any():
        return (
            "let the feature read its `inputs` alone; prices come in as bars of another symbol (`auxiliary` and `correlated` of "
            "universe.yaml, family cross_asset), macro series as CSV files with release dates under macro/ beside the bars, news "
            "as news.parquet there: all of them with known_at"
        )
    return "let the function of each column read rows up to its own only, within its `lookback`, or take it out; then run again"


def _fault(where: str, fault: str, at: pl.Series, found: str = "", wanted: str = "") -> dict[str, object]:
    told = {"rows": len(at), "first_at": at.min(), "found": found, "wanted": wanted}
    return {"audit": AUDIT, "where": where, "fault": fault, **told}
