"""Planted leaks in what is fitted and in which rows there are: each comes out otherwise when the future is cut off or spoilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import polars as pl

from quant_pipeline.config.experiment import LabelSettings, WeightSettings
from quant_pipeline.config.universe import Costs
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.labels.tuning import tune_barriers
from quant_pipeline.labels.weights import mean_one, sample_weights, weights_among
from quant_pipeline.validation.leaks.bench import SETTINGS, Planted, candles
from quant_pipeline.validation.splits import FoldRows, fold_rows, make_splits
from quant_pipeline.validation.truncation import (
    existence_audit,
    label_audit,
    not_yet_known,
    rows_audit,
    spoilt,
    trending,
    truncation_audit,
)

RULES, COSTS = LabelSettings(tp_atr=1.0, sl_atr=1.0, max_bars=3, tune_trials=24), Costs(fee_bps=1)
"""Few trials are tried at random and agree on any market; with two dozen the sampler has begun to follow the score."""
TUNED_ON, LEARNED = 200, 200
REST, REST_AFTER = timedelta(days=2), 90
"""The market here rests for two days after every ninetieth bar."""
LITTLE = 0.005
SEED = 5
Labels = Callable[[pl.DataFrame], pl.DataFrame]


@cache
def market() -> pl.DataFrame:
    """RUNG BARS of hours with rests between them; primary bars and path at once."""
    bars = candles(0)
    rests = pl.int_range(pl.len()) // REST_AFTER * REST
    return bars.with_columns(pl.col("timestamp") + rests, pl.col("known_at") + rests).drop("decision_at")


def labelled(bars: pl.DataFrame) -> pl.DataFrame:
    """LABELS of the bars."""
    return label_bars(bars, bars, RULES, COSTS)[0]


@cache
def labels() -> pl.DataFrame:
    """LABELS of the market."""
    return labelled(market())


def left_out(reason: pl.Expr) -> Planted:
    """Rows of which those with `reason`, an expression of LABELS and `rest_until`, are left out, under the existence audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        def decisions(bars: pl.DataFrame, _: pl.DataFrame) -> pl.Series:
            opens = bars.select(pl.col("known_at").alias("decision_at"), rest_until=pl.col("timestamp").shift(-1))
            made = labelled(bars).join(opens, on="decision_at", how="left", maintain_order="left")
            return made.filter(~reason)["decision_at"] if leak else made["decision_at"]

        places = np.array([REST_AFTER - 1, 120, 2 * REST_AFTER - 1, 240])
        return existence_audit(decisions, market(), market(), places, before=20, after=2 * RULES.max_bars)

    return find


def understated(column: str, by: timedelta) -> Planted:
    """LABELS said to be known earlier than they are, under the audit of labels."""

    def find(*, leak: bool) -> pl.DataFrame:
        told = labels().with_columns(pl.max_horizontal(pl.col(column) - by, "entry_at").alias(column)) if leak else labels()
        return label_audit(told, market(), RULES, np.arange(0, told.height, 8))

    return find


def rows_that_won(*, leak: bool) -> pl.DataFrame:
    """Out-of-fold rows of which only those that hit a barrier are scored."""
    splits = make_splits(labels(), SETTINGS)

    def rows(given: pl.DataFrame) -> FoldRows:
        honest = fold_rows(splits, "fold_01", given, SETTINGS)
        return replace(honest, oof=honest.oof[given["label"].to_numpy()[honest.oof] != 0]) if leak else honest

    return rows_audit(rows, labels(), splits, fold="fold_01", seed=SEED)


def tuned(*, leak: bool) -> pl.DataFrame:
    """Barriers tuned on the first half of the bars, or on all of them."""
    until = market()["known_at"][TUNED_ON]

    def make(bars: pl.DataFrame) -> dict[str, str]:
        end = bars["known_at"][-1] if leak else until
        return {"barriers": str(tune_barriers(bars, bars, RULES, COSTS, until=end, seed=SEED))}

    return truncation_audit(make(market()), lambda: make(trending(market(), until)), where="tuning", at=until)


def refitted(fit: Callable[[pl.DataFrame, pl.DataFrame], object]) -> Planted:
    """`fit` of the first rows of LABELS and of all that is there, or of the first rows alone, under the truncation audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        def make(given: pl.DataFrame) -> dict[str, str]:
            first = given[:LEARNED]
            return {"fit": str(fit(first, given if leak else first))}

        moment = labels()[:LEARNED]["horizon_end"].max()
        world = spoilt(labels(), np.arange(labels().height) < LEARNED, seed=SEED)[: LEARNED + 50]
        return truncation_audit(make(labels()), lambda: make(world), where="first rows", at=moment)  # type: ignore[arg-type]

    return find


def median_fill(first: pl.DataFrame, told: pl.DataFrame) -> object:
    """Mean of a column whose holes take a median."""
    holes = pl.when(pl.int_range(pl.len()) % 5 > 0).then("atr")
    return first.select(holes.fill_null(told["atr"].median()).mean()).item()


def seeded(first: pl.DataFrame, told: pl.DataFrame) -> object:
    """A bootstrapped mean whose seed counts rows."""
    return np.random.default_rng(told.height).choice(first["atr"].to_numpy(), 50).mean()


def threshold(first: pl.DataFrame, told: pl.DataFrame) -> object:
    """The size of a forecast from which it is acted on, by the return that followed."""
    sizes = np.quantile(first["take_profit"], [0.2, 0.5, 0.8])
    wide, long = told["take_profit"].to_numpy(), told["long_return"].to_numpy()
    earned = np.array([long[wide > size].sum() for size in sizes])
    return sizes[earned.argmax()], earned.tolist()


def weighed(first: pl.DataFrame, told: pl.DataFrame) -> object:
    """Sample weights over the mean of those of other rows."""
    settings = WeightSettings(quality=False)
    raw = weights_among(first, sample_weights(first, settings), settings)["weight"].to_numpy()
    if told.height == first.height:
        return mean_one(raw).tolist()
    return (raw / sample_weights(told, settings)["weight"].to_numpy().mean()).tolist()


def open_returns(*, leak: bool) -> pl.DataFrame:
    """Mean forward return of the labels that ended before a moment; of those whose horizon had not, it is not known yet."""
    moment = labels()[LEARNED:].filter(pl.col("label_end") < pl.col("horizon_end"))["label_end"][0]
    gate = "label_end" if leak else "horizon_end"

    def make(given: pl.DataFrame) -> dict[str, str]:
        return {"payoff": str(given.filter(pl.col(gate) <= moment)["forward_return"].mean())}

    return truncation_audit(make(labels()), lambda: make(not_yet_known(labels(), moment, seed=SEED)), where="payoffs", at=moment)
