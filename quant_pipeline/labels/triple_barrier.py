"""Triple-barrier labels on net profit, resolved on finer bars (AFML chapter 3, with costs and fills made explicit)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.bars.moments import microseconds, moments, require_columns
from quant_pipeline.errors import DataError
from quant_pipeline.labels import barriers
from quant_pipeline.labels.barriers import Course, Outcomes, Path, Rules
from quant_pipeline.ledger import Ledger

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import LabelSettings
    from quant_pipeline.config.universe import Costs

REASONS = ("warm_up", "no_range", "window_open", "no_path")  # by reason code of `barriers`
TOUCHED = pl.Series("touched", ["upper", "lower", "vertical"])
_NEEDED = ("timestamp", "known_at", "open", "high", "low", "close")


def lay_course(primary: pl.DataFrame, path: pl.DataFrame, atr_period: int) -> Course:
    """Put the primary bars on the path. Raises `DataError` for a frame that is empty, short of a column or unsorted."""
    bars, steps = bar_arrays(primary, "primary bars"), bar_arrays(path, "path bars")
    atr = barriers.simple_atr(bars.high, bars.low, bars.close, atr_period)
    # a primary bar lies on the path when a path bar was still known after the primary bar's open
    covered = int(np.searchsorted(bars.opens_at, steps.known_at[-1]))
    return Course(bars.opens_at, bars.known_at, atr, steps, barriers.path_blocks(bars.known_at, steps), covered)


def label_bars(primary: pl.DataFrame, path: pl.DataFrame, settings: LabelSettings, costs: Costs) -> tuple[pl.DataFrame, Ledger]:
    """Label each primary bar with what a trade decided at its close would have met.

    Timing: decided at `decision_at` = the bar's `known_at`; entered at the open of the first path bar at or after it
    (after a gap, the next session's open). ATR = mean true range of the `atr_period` primary bars up to the decision.
    The vertical barrier is the close of the `max_bars`-th following primary bar.

    Barriers are on NET profit, with c = round-trip cost x entry price:
        long:  take-profit at entry + (tp_atr * ATR + c), stop at entry - (sl_atr * ATR - c)
        short: take-profit at entry - (tp_atr * ATR + c), stop at entry + (sl_atr * ATR - c)
    so reaching the take-profit earns tp_atr * ATR after costs and the stop loses sl_atr * ATR after costs. Where the
    cost alone exceeds the stop, the trade is stopped at its entry (counted in `notes["stop_inside_cost"]`).
    Both barriers inside one path bar: the stop first. A path bar that opens beyond a barrier fills at that open.

    `side="long"`: label 1 take-profit first, -1 stop first, 0 vertical. `side="two_sided"`: 1 the long trade takes its
    profit, -1 the short trade does, 0 neither (out of time, or both stopped out).

    Args:
        primary: RUNG bars (n rows) on which samples are made, sorted.
        path: RUNG bars as fine as the primary or finer (1m), sorted.
        settings: barriers, horizon, ATR period, side.
        costs: of the symbol; `round_trip` is charged once per trade.

    Returns:
        LABELS: timestamp, decision_at, entry_at, entry_price, label, touched, label_end (when the class and both
        trades' returns are known; for `long`, the class and the long return), long_return, short_return (net),
        forward_return (gross, to the vertical barrier), cost, atr (price units), horizon_end (vertical barrier),
        take_profit, stop_loss (gross distances of the barriers as fractions of the entry price).
        Ledger: dropped `warm_up` (no ATR yet), `no_range` (ATR of zero), `window_open` (the vertical barrier is not
        reached by the data, even where another barrier is: else the last rows would be a biased choice), `no_path`
        (no path bar before the next primary bar's close).

    Raises:
        DataError: a frame is empty, lacks a column, or is not sorted.
    """
    course = lay_course(primary, path, settings.atr_period)
    out = walk(course, settings, costs)
    labels = _frame(course, out, settings, costs)
    return labels, _ledger(primary.height, labels, out)


def walk(course: Course, settings: LabelSettings, costs: Costs) -> Outcomes:
    """Outcomes of every primary bar that can be labelled under `settings` (its ATR period is the course's)."""
    rules = Rules(settings.tp_atr, settings.sl_atr, settings.max_bars, costs.round_trip, settings.side == "two_sided")
    out = barriers.allocate(course.closes_at.size)
    kept = barriers.walk_all(course, rules, out)
    return out._replace(**{name: getattr(out, name)[:kept] for name in out._fields if name != "dropped"})


def bar_arrays(frame: pl.DataFrame, name: str) -> Path:
    """Times and prices of bars, sharing memory where they can. Raises `DataError` as `label_bars` does."""
    require_columns(frame, _NEEDED, name)
    if frame.is_empty():
        raise DataError(name, found="no rows", wanted="at least one bar", mend="widen the span of the bars")
    times = [microseconds(frame[column]) for column in ("timestamp", "known_at")]
    if any((steps[1:] <= steps[:-1]).any() for steps in times):
        raise DataError(
            name, found="times that do not increase", wanted="bars sorted by time, each once", mend="run clean_bars first"
        )
    return Path(times[0], times[1], *(np.ascontiguousarray(frame[column].to_numpy()) for column in _NEEDED[2:]))


def _frame(course: Course, out: Outcomes, settings: LabelSettings, costs: Costs) -> pl.DataFrame:
    rows, horizons = _span(out.row), _span(out.row + settings.max_bars)
    price, atr = course.path.open[out.entry], course.atr[rows]
    take_profit = atr / price
    stop_loss = take_profit * settings.sl_atr
    take_profit *= settings.tp_atr
    take_profit += costs.round_trip
    stop_loss -= costs.round_trip
    return pl.DataFrame(
        {
            "timestamp": moments(course.opens_at[rows], "timestamp"),
            "decision_at": moments(course.closes_at[rows], "decision_at"),
            "entry_at": moments(course.path.opens_at[out.entry], "entry_at"),
            "entry_price": price,
            "label": out.label,
            "touched": TOUCHED.gather(out.touched),
            "label_end": moments(out.label_end, "label_end"),
            "long_return": out.long_return,
            "short_return": out.short_return,
            "forward_return": out.forward_return,
            "cost": np.full(price.size, costs.round_trip),
            "atr": atr,
            "horizon_end": moments(course.closes_at[horizons], "horizon_end"),
            "take_profit": take_profit,
            "stop_loss": stop_loss,
        }
    )


def _span(rows: npt.NDArray[np.int32]) -> slice | npt.NDArray[np.int32]:
    """The same rows as a slice where they follow each other: a view then, no copy of every column."""
    unbroken = rows.size > 0 and rows[-1] - rows[0] + 1 == rows.size
    return slice(int(rows[0]), int(rows[-1]) + 1) if unbroken else rows


def _ledger(rows: int, labels: pl.DataFrame, out: Outcomes) -> Ledger:
    ledger = Ledger(rows_in=rows)
    for reason, count in zip(REASONS, out.dropped, strict=True):
        ledger.drop(reason, int(count))
    ledger.notes["labels"] = {str(label): int(np.count_nonzero(out.label == label)) for label in (-1, 0, 1)}
    ledger.notes["stop_inside_cost"] = int((labels["stop_loss"] <= 0).sum())
    return ledger
