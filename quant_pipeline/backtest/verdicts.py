"""What the skill table says about a model, in plain words and never without its interval: direction, money, then the rest.

Only direction is called skill. Telling calm hours from wild ones is named for what it is, and no verdict rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from quant_pipeline.backtest.money import MONEY
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.skill import METRICS
from quant_pipeline.validation.skill_table import POOLED

if TYPE_CHECKING:
    from collections.abc import Mapping

Tone = Literal["above", "chance", "below"]
GAINS = ("direction_gain", "activity_gain", "log_loss_gain")
LOSSES = frozenset(name for name, metric in METRICS.items() if metric.better == "low")
ENSEMBLE = "ensemble"
HEADLINES: dict[Tone, str] = {
    "above": "direction above chance",
    "chance": "direction indistinguishable from chance",
    "below": "direction below chance",
}
PAID: dict[Tone, str] = {
    "above": "followed, it earned more than its costs",
    "chance": "what it earned, followed, is not distinguishable from nothing",
    "below": "followed, it lost money",
}
PLACES = {POOLED: "out of fold", HOLDOUT: "on the holdout"}
MINUS = "\N{MINUS SIGN}"
DIGITS = {"log_loss": "z.4f", "brier": "z.4f", MONEY: "+z.1%"} | dict.fromkeys(GAINS, "+z.4f")


@dataclass(frozen=True)
class Verdict:
    """One model's verdict on direction (rank IC, pooled out-of-fold) and money, and sentences that carry the figures.

    The tone is that of direction, but never above chance where following it lost money.

    Attributes:
        span: where the rows of direction and money are from, in words.
        marks: direction, money and the holdout, each with a tone of its own, so that none hides behind another.
    """

    model: str
    span: str
    tone: Tone
    marks: tuple[tuple[Tone, str], ...]
    headline: str
    sentences: tuple[str, ...]


def number(value: float | None, metric: str) -> str:
    """A value in the digits and sign of its metric; a dash where undefined.

    Example:
        >>> number(0.01234, "ic"), number(0.5, "auc"), number(1.0986, "log_loss")
        ('+0.012', '0.500', '1.0986')
    """
    if value is None:
        return "\N{EN DASH}"
    return f"{value:{DIGITS.get(metric, '+z.3f' if metric.startswith('ic') else 'z.3f')}}".replace("-", MINUS)


def between(row: Mapping[str, Any]) -> str:
    """The interval of a row of the table, in words."""
    return f"{number(row['low'], row['metric'])} to {number(row['high'], row['metric'])}"


def tone(row: Mapping[str, Any]) -> Tone:
    """On which side of chance the whole interval lies; "chance" when it holds chance or does not exist."""
    if row["low"] is None or row["chance"] is None or row["low"] == row["high"]:
        return "chance"
    higher, lower = row["low"] > row["chance"], row["high"] < row["chance"]
    if row["metric"] in LOSSES:
        higher, lower = lower, higher
    return "above" if higher else "below" if lower else "chance"


def share(row: Mapping[str, Any], of: str = "") -> str:
    """The share of the reachable with its interval, in words; `row` has one, and `of` says of what it is."""
    ends = [f"{row[name]:.0%}" for name in ("share_low", "share_high") if row[name] is not None]
    words = f"{row['share_of_reachable']:.0%}{of} ({' to '.join(ends) or 'no bounds'})"
    lucky = "; above 100% is the luck of this sample" if row["share_of_reachable"] > 1 else ""
    return f"{words.replace('-', MINUS)}{lucky}"


def models(table: pl.DataFrame, kind: str = "model") -> list[str]:
    """Names of a kind in the order of the table, the ensemble first."""
    names = table.filter(pl.col("kind") == kind)["model"].unique(maintain_order=True).to_list()
    return sorted(names, key=lambda name: name != ENSEMBLE)


def look_up(table: pl.DataFrame, model: str, fold: str, metric: str) -> dict[str, Any] | None:
    """The row of a model, fold and metric, or None."""
    row = table.filter(pl.col("model") == model, pl.col("fold") == fold, pl.col("metric") == metric)
    return row.row(0, named=True) if row.height else None


def verdicts(table: pl.DataFrame, level: float) -> list[Verdict]:
    """One verdict per model, the ensemble first. `level` is that of the table's intervals."""
    return [_verdict(table, model, level) for model in models(table)]


def _verdict(table: pl.DataFrame, model: str, level: float) -> Verdict:
    fold = POOLED if look_up(table, model, POOLED, "ic") else HOLDOUT
    row = {metric: look_up(table, model, fold, metric) for metric in ("ic", MONEY, *GAINS)}
    held = look_up(table, model, HOLDOUT, "ic") if fold == POOLED else None
    direction, money, total = row["ic"], row[MONEY], row["log_loss_gain"]
    said = [
        _direction(direction, level) if direction else "",
        followed(money) if money else "",
        _beside(direction) if direction else "",
        _held(held, look_up(table, model, HOLDOUT, MONEY), level) if held else "",
        _gains(total, row["direction_gain"], row["activity_gain"]) if total else "",
    ]
    sentences = tuple(sentence for sentence in said if sentence)
    marks = _marks(direction, money, held, look_up(table, model, HOLDOUT, MONEY))
    return Verdict(model, PLACES[fold], judged(direction, money), marks, _headline(direction, money), sentences)


def _marks(
    direction: Mapping[str, Any] | None, money: Mapping[str, Any] | None, held: Mapping[str, Any] | None,
    paid: Mapping[str, Any] | None,
) -> tuple[tuple[Tone, str], ...]:  # fmt: skip
    """`held` and `paid` are those of the holdout, where it is not what the others are of."""
    found: Tone = tone(direction) if direction else "chance"
    marks: list[tuple[Tone, str]] = [(found, HEADLINES[found])]
    if money:
        marks.append((tone(money), _paid(money)))
    if held:
        marks.append((tone(held), f"{PLACES[HOLDOUT]}: {HEADLINES[tone(held)]}"))
    if held and paid:
        marks.append((tone(paid), f"{PLACES[HOLDOUT]}: {_paid(paid)}"))
    return tuple(marks)


def judged(direction: Mapping[str, Any] | None, money: Mapping[str, Any] | None) -> Tone:
    """The tone of direction and money together: good direction that loses money is not good."""
    found: Tone = tone(direction) if direction else "chance"
    if found == "above" and money and money["value"] < 0:
        return "below" if tone(money) == "below" else "chance"
    return found


def _headline(direction: Mapping[str, Any] | None, money: Mapping[str, Any] | None) -> str:
    said = HEADLINES[tone(direction) if direction else "chance"]
    return f"{said}; {_paid(money)}" if money else said


def _paid(money: Mapping[str, Any]) -> str:
    return "no trade asked for" if money["low"] == money["high"] is not None else PAID[tone(money)]


def _direction(row: Mapping[str, Any], level: float) -> str:
    if row["low"] is None:
        size = f"{row['rows']} rows are {row['blocks']:.0f} independent blocks"
        return f"Direction cannot be judged: {size}, or the score never changes."
    figures = f"rank IC {number(row['value'], 'ic')}, {level:.0%} interval {between(row)}"
    return {
        "above": f"Tells up from down better than chance: {figures}, all above 0.",
        "chance": f"Does not tell up from down: {figures}, which holds 0.",
        "below": f"Points the wrong way: {figures}, all below 0.",
    }[tone(row)]


def followed(row: Mapping[str, Any], who: str = "it") -> str:
    """What following a line would have earned, in words, beside doing nothing and holding; `who` stands for the line."""
    if row["low"] is None:
        return f"Followed, {who} {_earned(row)}; no interval."
    if row["low"] == row["high"]:
        return f"{who[:1].upper()}{who[1:]} never asked for a trade; buy and hold {number(row['naive'], MONEY)}."
    beside = {
        "above": "more than doing nothing",
        "chance": "not distinguishable from doing nothing",
        "below": "less than doing nothing",
    }[tone(row)]
    return f"Followed, {who} {_earned(row)} net of costs ({between(row)}), {beside}; buy and hold {number(row['naive'], MONEY)}."


def _earned(row: Mapping[str, Any]) -> str:
    return f"{'lost' if row['value'] < 0 else 'earned'} {number(abs(row['value']), MONEY).lstrip('+')}"


def _held(row: Mapping[str, Any], money: Mapping[str, Any] | None, level: float) -> str:
    uses = f"use {row['looks']} of this span, so widened to hold {level:.0%} over all" if row["looks"] > 1 else "its first use"
    paid = f"; net return {number(money['value'], MONEY)} ({between(money)})" if money and money["low"] is not None else ""
    return f"On the holdout ({uses}): rank IC {number(row['value'], 'ic')} ({between(row)}), {HEADLINES[tone(row)]}{paid}."


def _gains(total: Mapping[str, Any], direction: Mapping[str, Any] | None, activity: Mapping[str, Any] | None) -> str:
    """The log-loss gain and its two parts; the activity part is never called skill."""
    if total["low"] is None or direction is None or activity is None:
        return ""
    whole, side, move = (f"{number(row['value'], row['metric'])} ({between(row)})" for row in (total, direction, activity))
    told = {
        "above": "it knows calm hours from wild ones, which says nothing of up or down",
        "chance": "it knows calm hours from wild ones no better than the class prior",
        "below": "it is too sure of itself about calm and wild hours",
    }[tone(activity)]
    return f"Log-loss gain {whole} nats: {side} by direction, {move} by activity; {told}."


def _beside(row: Mapping[str, Any]) -> str:
    said = []
    if row["share_of_reachable"] is not None:
        best = number(row["reachable"], "ic")
        said.append(f"It reaches {share(row, f' of the best reachable rank IC ({best}) of this simulated market')}.")
    if row["naive"] is not None:
        naive = row["naive_model"].removeprefix("naive: ")
        said.append(f"The best naive model ({naive}) has {number(row['naive'], 'ic')} on the same rows.")
    return " ".join(said)
