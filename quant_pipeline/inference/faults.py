"""Faults of features: rows made again against those that training reads, what their code opened, and how all of it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import polars as pl

from quant_pipeline.errors import LeakageError
from quant_pipeline.validation.audit import FAULTS

AUDIT = "live path"
FAILS = "fail when only their own past is there"
OUTSIDE = "reads a table that the pipeline does not know"
NAMED = 8
"""Columns that a message names before it counts the others."""
_KEYS = ("timestamp", "decision_at")


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
