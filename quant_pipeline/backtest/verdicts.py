"""What the skill table says about a model, in plain words and never without its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.skill import METRICS
from quant_pipeline.validation.skill_table import POOLED

if TYPE_CHECKING:
    from collections.abc import Mapping

Tone = Literal["above", "chance", "below"]
ENSEMBLE = "ensemble"
HEADLINES: dict[Tone, str] = {"above": "above chance", "chance": "indistinguishable from chance", "below": "below chance"}
MINUS = "\N{MINUS SIGN}"
DIGITS = {"log_loss": 4, "log_loss_gain": 4, "brier": 4}


@dataclass(frozen=True)
class Verdict:
    """One model's verdict: the tone of its direction (rank IC, pooled out-of-fold) and sentences that carry the figures."""

    model: str
    tone: Tone
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
    signed = "+" if metric.startswith("ic") or metric == "log_loss_gain" else ""
    return f"{value:{signed}.{DIGITS.get(metric, 3)}f}".replace("-", MINUS)


def between(row: Mapping[str, Any]) -> str:
    """The interval of a row of the table, in words."""
    return f"{number(row['low'], row['metric'])} to {number(row['high'], row['metric'])}"


def tone(row: Mapping[str, Any]) -> Tone:
    """On which side of chance the whole interval lies; "chance" when it holds chance or does not exist."""
    if row["low"] is None or row["chance"] is None or row["low"] == row["high"]:
        return "chance"
    higher, lower = row["low"] > row["chance"], row["high"] < row["chance"]
    if METRICS[row["metric"]].better == "low":
        higher, lower = lower, higher
    return "above" if higher else "below" if lower else "chance"


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
    direction, gain = look_up(table, model, fold, "ic"), look_up(table, model, fold, "log_loss_gain")
    held = look_up(table, model, HOLDOUT, "ic") if fold == POOLED else None
    said = [
        _direction(direction, level) if direction else "",
        _probabilities(gain) if gain else "",
        _beside(direction) if direction else "",
        f"On the holdout: rank IC {number(held['value'], 'ic')} ({between(held)}), {HEADLINES[tone(held)]}." if held else "",
    ]
    found: Tone = tone(direction) if direction else "chance"
    return Verdict(model, found, HEADLINES[found], tuple(sentence for sentence in said if sentence))


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


def _probabilities(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return ""
    figures = f"{number(row['value'], 'log_loss_gain')} nats ({between(row)})"
    return {
        "above": f"Its probabilities are worth more than the class prior: log-loss gain {figures}.",
        "chance": f"Its probabilities are worth no more than the class prior: log-loss gain {figures}.",
        "below": f"Its probabilities are worse than the class prior, so it is too sure of itself: log-loss gain {figures}.",
    }[tone(row)]


def _beside(row: Mapping[str, Any]) -> str:
    said = []
    if row["share_of_reachable"] is not None:
        share, best = f"{row['share_of_reachable']:.0%}".replace("-", MINUS), number(row["reachable"], "ic")
        said.append(f"It reaches {share} of the best reachable rank IC ({best}) of this simulated market.")
    if row["naive"] is not None:
        naive = row["naive_model"].removeprefix("naive: ")
        said.append(f"The best naive model ({naive}) has {number(row['naive'], 'ic')} on the same rows.")
    return " ".join(said)
