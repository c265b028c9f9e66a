"""Fold-truncation audit: whether what was fitted, and which rows there are, would have come out the same without the future.

Each part that a fold made is made again from a world without what the fold may not know: inputs cut at the moment when its
last row was known, and every other row spoilt. Faults are those of `audit.py`; no rows means clean. Labels have an oracle of
their own here: a slow walk along the path, cut at `label_end`, that shares no code with the labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from polars import selectors

from quant_pipeline.errors import QuantError
from quant_pipeline.validation.audit import FAULTS
from quant_pipeline.validation.splits import FoldRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from quant_pipeline.config.experiment import LabelSettings
    from quant_pipeline.validation.purging import Flags, Int64s

AUDIT = "truncation"
SPOILT = -100.0
"""Spoilt numbers are dealt to other rows, mirrored and stretched: whoever reads them says something else."""
CLOSE_ENOUGH = 1e-9
"""Of returns, where the labels' arithmetic and the oracle's may round differently."""
TREND = 0.01
"""Rise of a spoilt market, an hour, as a logarithm: several ranges of an ordinary hour, so that other barriers pay."""
CLASSES = 3
OUTCOMES = ("label", "touched", "long_return", "short_return", "label_end")
"""Columns of LABELS that are known at `label_end`; the others were at the decision, or are only at `horizon_end`."""


def truncation_audit(
    made: Mapping[str, str], again: Callable[[], Mapping[str, str]], *, where: str, at: datetime
) -> pl.DataFrame:
    """Compare what a fold made with the same parts made again without what it may not know.

    Args:
        made: digest of each part, by its name.
        again: makes those parts anew from the poorer world. An error of ours counts as a difference: whoever cannot work
            without the future reads it.
        where: the fold.
        at: moment at which the world was cut.
    """
    try:
        found = again()
    except QuantError as error:
        return _faults(where, "cannot be made without later rows", at, found=str(error))
    parts = [name for name in (*made, *found) if made.get(name) != found.get(name)]
    return _joined(_faults(f"{where}: {name}", "depends on what it may not know", at) for name in dict.fromkeys(parts))


def spoilt(frame: pl.DataFrame, kept: Flags, *, seed: int) -> pl.DataFrame:
    """The frame with every value outside the rows `kept` (n,) replaced: dealt among the other rows, numbers also mirrored
    and stretched. Times stay, so that rows can still be found.
    """
    mine, others = np.flatnonzero(kept), np.flatnonzero(~kept)
    dealt = frame[np.random.default_rng(seed).permutation(others)].with_columns(frame[others].select(selectors.temporal()))
    wrong = dealt.with_columns(selectors.float().as_expr() * SPOILT + 1.0, selectors.signed_integer().as_expr().neg())
    return pl.concat([frame[mine], wrong])[np.argsort(np.concatenate([mine, others]))]


def not_yet_known(labels: pl.DataFrame, moment: datetime, *, seed: int) -> pl.DataFrame:
    """LABELS of which everything that was unknown at `moment` is spoilt, each column by its own moment: class and returns
    of a trade by `label_end`, the forward return by `horizon_end`. An open label stays open until its horizon.
    """
    wrong = spoilt(labels, np.zeros(labels.height, dtype=bool), seed=seed)
    another = ((labels["label"] + 2) % CLASSES - 1).cast(labels["label"].dtype)
    wrong = wrong.with_columns(another, label_end=pl.max_horizontal("label_end", "horizon_end"))
    later = {name: pl.col("label_end") > moment for name in OUTCOMES} | {"forward_return": pl.col("horizon_end") > moment}
    present = [name for name in later if name in labels.columns]
    return labels.with_columns(pl.when(later[name]).then(wrong[name]).otherwise(name).alias(name) for name in present)


def trending(bars: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """RUNG BARS that rise by `TREND` an hour from `since` on, and of the bars after it the first half only."""
    later = pl.col("timestamp") >= since
    hours = pl.max_horizontal(pl.lit(0.0), (pl.col("timestamp") - since).dt.total_minutes() / 60)
    known = bars.height - bars.filter(later).height
    return bars.with_columns(pl.col("open", "high", "low", "close") * (TREND * hours).exp())[: (bars.height + known) // 2]


def rows_audit(
    rows: Callable[[pl.DataFrame], FoldRows], labels: pl.DataFrame, splits: pl.DataFrame, *, fold: str, seed: int
) -> pl.DataFrame:
    """Whether a fold's rows are chosen by their times alone, and every decision of its blocks is predicted.

    `rows` gives the fold's rows of LABELS; they are asked for again of labels whose outcomes and prices are spoilt, and of
    labels without the rows that are decided after the fold. (Its boundaries count the rows of the whole history.)
    """
    honest, mine = rows(labels), splits.filter(pl.col("fold") == fold)
    blocks = mine.filter(pl.col("role") == "oof")
    inside = [pl.col("decision_at").is_between(start, end, closed="left") for start, end in blocks.select("start", "end").rows()]
    every = labels.with_row_index().filter(pl.any_horizontal(inside))["index"].to_numpy()
    worlds = {
        "are not all decisions of the block": FoldRows(honest.train, honest.valid, every),
        "depend on outcomes": rows(spoilt(labels, np.zeros(labels.height, dtype=bool), seed=seed)),
        "depend on later rows": rows(labels.filter(pl.col("decision_at") < mine["end"].max())),
    }
    return _joined(
        _faults(f"{fold}: {role} rows", fault, labels["decision_at"][int(odd[0])], rows=odd.size)
        for fault, found in worlds.items() for role in ("train", "valid", "oof")
        if (odd := np.setxor1d(getattr(honest, role), getattr(found, role))).size
    )  # fmt: skip


def existence_audit(
    decisions: Callable[[pl.DataFrame, pl.DataFrame], pl.Series], primary: pl.DataFrame, path: pl.DataFrame,
    places: Int64s, *, before: int, after: int,
) -> pl.DataFrame:  # fmt: skip
    """Whether which rows exist at a moment depends on what came after it.

    After the close of each primary bar of `places` the market is made to stand still, to run wild, to pause for a week, and
    to go on without its pause; the rows decided by then must be the same in each.

    Args:
        decisions: `decision_at` of the rows that exist, given primary and path bars.
        primary: RUNG BARS of the samples.
        path: RUNG BARS that resolve their labels.
        places: positions of primary bars, each with `before` bars before and `after` bars after it.
        before: bars that the first of the compared rows may need.
        after: bars until the window of the last of them closes.
    """
    told: list[pl.DataFrame] = []
    for place in places:
        near = primary[int(place) - 2 * before : int(place) + after + 1]
        cut, oldest = primary["known_at"][int(place)], primary["known_at"][int(place) - before]
        steps = path.filter(pl.col("timestamp") >= near["timestamp"][0], pl.col("known_at") <= near["known_at"][-1])
        worlds = [decisions(*bars) for bars in _futures(near, steps, cut)]
        compared = [{moment for moment in told if oldest < moment <= cut} for told in worlds]
        odd = sorted(set.union(*compared) - set.intersection(*compared))
        told += [_faults("rows", "exist or not by what comes after them", odd[0], rows=len(odd))] if odd else []
    return _joined(told)


def _futures(near: pl.DataFrame, steps: pl.DataFrame, cut: datetime) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """The bars as they are, and with other futures after `cut`."""
    last = near.filter(pl.col("known_at") <= cut)["close"][-1]
    later = pl.col("timestamp") >= cut
    pause = near.filter(later)["timestamp"][0] - cut
    calm = [pl.when(later).then(pl.lit(last)).otherwise(name).alias(name) for name in ("open", "high", "low", "close")]
    flipped = {"open": "open", "high": "low", "low": "high", "close": "close"}
    wild = [
        pl.when(later).then(last * (pl.col(other) / last) ** -20).otherwise(name).alias(name) for name, other in flipped.items()
    ]

    def moved(by: Any) -> list[pl.Expr]:
        return [pl.when(later).then(pl.col(name) + by).otherwise(name).alias(name) for name in ("timestamp", "known_at")]

    changes: tuple[list[pl.Expr], ...] = ([], calm, wild, moved(pl.duration(weeks=1)), moved(-pause))
    return [(near.with_columns(change), steps.with_columns(change)) for change in changes]


def label_audit(labels: pl.DataFrame, path: pl.DataFrame, rules: LabelSettings, places: Int64s) -> pl.DataFrame:
    """Whether the labels at `places` are decided by the path up to their `label_end`, and their forward returns by the path
    up to `horizon_end`: a slow walk along minutes that are cut there must tell class, barrier and returns again.
    """
    faults: list[pl.DataFrame] = []
    for row in labels[places].rows(named=True):
        walked = path.filter(pl.col("timestamp") >= row["entry_at"], pl.col("known_at") <= row["horizon_end"])
        again = _told_by(walked.filter(pl.col("known_at") <= row["label_end"]), row, rules)
        again |= {"forward_return": walked["close"][-1] / row["entry_price"] - 1.0 if walked.height else None}
        for name, value in again.items():
            if not _same(row[name], value):
                limit = "horizon_end" if name == "forward_return" else "label_end"
                told = f"is not decided by {limit}"
                faults.append(_faults(name, told, row["decision_at"], found=str(row[name]), wanted=str(value)))
    return _joined(faults)


def _told_by(seen: pl.DataFrame, row: dict[str, Any], rules: LabelSettings) -> dict[str, Any]:
    """What the path that was seen says of one label; None where it says nothing yet."""
    price, cost = row["entry_price"], row["cost"]
    take, stop = rules.tp_atr * row["atr"] + cost * price, rules.sl_atr * row["atr"] - cost * price
    bars = seen.select("known_at", "open", "high", "low", "close").rows()
    over = row["label_end"] == row["horizon_end"]
    long = _left(bars, price + take, price - stop, "lower", over=over)
    short = _left(bars, price + stop, price - take, "upper", over=over)
    if long is None or (rules.side == "two_sided" and short is None):
        return {"label": None}
    if rules.side == "long" or short is None:
        label = {"upper": 1, "lower": -1, "vertical": 0}[long[1]]
        return {"label": label, "touched": long[1], "long_return": long[2] / price - 1.0 - cost}
    won = [long[0]] if long[1] == "upper" else [], [short[0]] if short[1] == "lower" else []
    label = (won[0] < won[1]) - (won[1] < won[0]) if all(won) else len(won[0]) - len(won[1])
    touched = {1: "upper", -1: "lower", 0: "vertical"}[label]
    returns = {"long_return": long[2] / price - 1.0 - cost, "short_return": 1.0 - short[2] / price - cost}
    return {"label": label, "touched": touched, **returns}


def _left(bars: list[tuple[Any, ...]], up: float, down: float, stop: str, *, over: bool) -> tuple[Any, str, float] | None:
    """When, by which barrier and at what price a trade is left; at the last close where its time is `over`."""
    for known_at, opened, high, low, _ in bars:
        if opened >= up or opened <= down:
            return known_at, "upper" if opened >= up else "lower", opened
        touched = [name for name, met in (("upper", high >= up), ("lower", low <= down)) if met]
        if touched:
            first = stop if stop in touched else touched[0]
            return known_at, first, up if first == "upper" else down
    return (bars[-1][0], "vertical", bars[-1][4]) if over and bars else None


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, float):
        return abs(found - wanted) <= CLOSE_ENOUGH
    return bool(found == wanted)


def _faults(where: str, fault: str, at: Any, *, rows: int = 1, found: str = "", wanted: str = "") -> pl.DataFrame:
    row = {"audit": AUDIT, "where": where, "fault": fault, "rows": rows, "first_at": at, "found": found, "wanted": wanted}
    return pl.DataFrame([row], schema=FAULTS)


def _joined(faults: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=FAULTS), *faults])
