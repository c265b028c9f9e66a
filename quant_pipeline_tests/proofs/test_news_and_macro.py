"""News and macro releases raise skill where the simulated market follows them, and not where it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.validation.bootstrap import block_counts, block_length, label_overlap
from quant_pipeline.validation.skill_kernels import groups, ones, spearman

SYMBOLS, SEEDS = ("GC=F", "BTC-USD"), (1, 2)
RESAMPLES = 1_000
# monthly releases are few: the whole simulated market, so that three dozen of each series are there to learn from
AT, DAYS = datetime(2026, 11, 18, tzinfo=UTC), 1_000
PLAIN = ("returns", "volatility", "calendar")
NEWS_EFFECT, MACRO_EFFECT = 0.15, 0.30
OFF = {"signal": 0.0, "news_effect": 0.0, "macro_effect": 0.0}
MARKETS = {"news": OFF | {"news_effect": NEWS_EFFECT}, "macro": OFF | {"macro_effect": MACRO_EFFECT}, "neither": OFF}


class Raise(NamedTuple):
    """IC with and without an input on the same rows: (1 + RESAMPLES,) each, the rows as they are first."""

    rows: int
    plain: np.ndarray
    informed: np.ndarray

    def gain(self) -> np.ndarray:
        """The difference, and its 95 % interval."""
        difference = self.informed - self.plain
        return np.array([difference[0], *np.quantile(difference[1:], [0.025, 0.975])])


def asked(default: Experiment, market: str, families: tuple[str, ...], seed: int) -> Experiment:
    """The default experiment with a logistic model alone, on these families and this market."""
    said = default.model_dump(mode="json", exclude={"name"})
    said |= {"simulated": {"seed": seed, "no_signal": False, **MARKETS[market]}, "ensemble": {"meta": "logistic", "alpha": 1.0}}
    said["features"] |= {"families": list(families), "coarse": []}
    said["labels"] |= {"tune_trials": 0}
    said |= {"history_days": DAYS}
    said["models"] = [model for model in said["models"] if model["name"] == "logistic"]
    return Experiment.parse({"name": f"{market}-{len(families)}", **said}, "proofs")


def scores(run) -> pl.DataFrame:
    """decision_at and the base model's own forecast of direction, out of sample."""
    told = run.predictions.filter(pl.col("model") == "logistic")
    return told.select("decision_at", score=pl.col("p_long") - pl.col("p_short"))


def everywhere(_run, joined: pl.DataFrame) -> pl.Series:
    return pl.repeat(True, joined.height, eager=True)


def after_a_release(run, joined: pl.DataFrame) -> pl.Series:
    """Decisions in the twelve hours after a first figure of a monthly or weekly series: most others have nothing to follow."""
    told = run.house.source.releases(joined["decision_at"].min() - HOURS, joined["decision_at"].max())
    first = told.filter(pl.col("revision") == 0, ~pl.col("series").str.starts_with("DGS")).select(released=pl.col("known_at"))
    near = joined.select("decision_at").sort("decision_at").join_asof(
        first.sort("released"), left_on="decision_at", right_on="released", tolerance=HOURS
    )  # fmt: skip
    return joined["decision_at"].is_in(near.drop_nulls()["decision_at"].implode())


HOURS = timedelta(hours=12)
rows_of = {"news": everywhere, "macro": after_a_release}


def compare(plain, informed, kind: str) -> Raise:
    outcomes = plain.table("labels").select("decision_at", "label_end", "forward_return")
    joined = scores(plain).join(scores(informed), on="decision_at", suffix="_informed").join(outcomes, on="decision_at")
    joined = joined.sort("decision_at").filter(rows_of[kind](plain, joined))
    overlap = label_overlap(microseconds(joined["decision_at"]), microseconds(joined["label_end"]))
    block = block_length(joined["forward_return"].to_numpy(), overlap)
    starts = np.random.default_rng(0).integers(0, joined.height, (RESAMPLES, -(-joined.height // block)))
    counts = np.vstack([ones(joined.height), block_counts(starts, joined.height, block)])
    happened = groups(joined["forward_return"].to_numpy())
    one, other = (spearman(*groups(joined[name].to_numpy()), *happened, counts) for name in ("score", "score_informed"))
    return Raise(joined.height, one, other)


def pool(raised: list[Raise]) -> Raise:
    """Mean IC over the rows of all runs."""
    rows = np.array([one.rows for one in raised])
    plain, informed = (np.average([getattr(one, name) for one in raised], axis=0, weights=rows) for name in ("plain", "informed"))
    return Raise(int(rows.sum()), plain, informed)


@pytest.mark.long
@pytest.mark.timeout(2_400)
@pytest.mark.parametrize("kind", ["news", "macro"])
def test_an_input_raises_skill_where_the_market_follows_it(train, default, capsys, kind):
    gains = {}
    for market in (kind, "neither"):
        raised = []
        for symbol in SYMBOLS:
            for seed in SEEDS:
                plain = train(symbol, asked(default, market, PLAIN, seed), at=AT)
                informed = train(symbol, asked(default, market, (*PLAIN, kind), seed), at=AT)
                raised.append(compare(plain, informed, kind))
        pooled = pool(raised)
        gains[market] = pooled.gain()
        with capsys.disabled():
            print(
                f"\nmarket follows {market}: IC {pooled.plain[0]:+.3f} without {kind}, {pooled.informed[0]:+.3f} with it, "
                f"gain {gains[market][0]:+.3f} ({gains[market][1]:+.3f} to {gains[market][2]:+.3f}), {pooled.rows:,} rows"
            )
    assert gains[kind][1] > 0
    assert gains["neither"][1] < 0 < gains["neither"][2]
