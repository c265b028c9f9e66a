"""The table of skill: every metric of every model and fold with its interval, chance, the best naive model, the reachable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import microseconds, require_columns
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import DataError
from quant_pipeline.validation.baselines import NAIVE, PRIOR, naive_forecasts
from quant_pipeline.validation.bootstrap import block_length, intervals, label_overlap
from quant_pipeline.validation.skill import METRICS, Forecasts, Metric, log_losses, point

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_pipeline.validation.skill_kernels import Floats

POOLED = "all"
ORACLE = "oracle"
DIRECTIONAL = tuple(name for name, metric in METRICS.items() if metric.directional)
PROBABILITIES = ("p_short", "p_neutral", "p_long")
KEYS = ("fold", "decision_at")
SCHEMA = (
    dict.fromkeys(("model", "kind", "fold", "metric"), pl.Utf8)
    | {"rows": pl.Int64}
    | dict.fromkeys(("value", "low", "high", "error", "blocks", "chance", "naive"), pl.Float64)
    | {"naive_model": pl.Utf8, "reachable": pl.Float64, "share_of_reachable": pl.Float64}
)


@dataclass(frozen=True)
class TableSettings:
    """Bootstrap of the table: resamples, two-sided level, seed; and which of `METRICS`, all by default."""

    resamples: int = 1_000
    level: float = 0.95
    seed: int = 0
    metrics: tuple[str, ...] = tuple(METRICS)


def skill_table(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    oracle: pl.DataFrame | None = None,
    settings: TableSettings | None = None,
    around: bool = False,
) -> pl.DataFrame:
    """Skill of each model in each fold and pooled, long form: one row per (model, fold, metric).

    Args:
        predictions: PREDICTIONS; the stack's rows are those of model "ensemble". Rows without a label yet are left out.
        labels: LABELS of the symbol, all of them: naive models learn from the rows before each fold.
        oracle: what a perfect forecaster knew on a simulated market: decision_at, expected_return (of the trade that
            the decision starts, given everything knowable then), optionally deviation (of that return), optionally
            p_short, p_neutral, p_long. Without these its probabilities are a logit of the former fitted to the very
            outcomes, the best that such a view allows. Rows with nulls are absent; a fold that lacks one has no reachable.
        settings: of the bootstrap.
        around: whether models saw both sides of their folds, so that naive models may too; see `naive_forecasts`.

    Returns:
        model, kind ("model", "naive", "oracle"), fold ("all" pools every fold but the holdout), metric, rows, value,
        low, high, error (bootstrap standard error), blocks (rows / block length), chance, naive (best naive model's value on
        the same rows), naive_model, reachable (the oracle's value on the same rows), share_of_reachable. Null: undefined.

    Raises:
        DataError: a column is missing, or no prediction has a label.
    """
    settings = settings or TableSettings()
    rows = with_labels(predictions, labels)
    decisions = rows.select(KEYS).unique(maintain_order=True)
    naive = _by_model(with_labels(naive_forecasts(labels, decisions, around=around), labels))
    reachable = {} if oracle is None else {ORACLE: _oracle_rows(oracle, with_labels(decisions, labels))}
    peers = _Peers(naive | reachable, settings.metrics)
    table = [
        {"model": model, "kind": kind, "fold": fold, **record}
        for kind, frames in (("model", _by_model(rows)), ("naive", naive), ("oracle", reachable))
        for model, frame in frames.items()
        for fold, cell in _cells(frame)
        for record in _score(cell, fold, peers, settings)
    ]
    return pl.DataFrame(table, schema=SCHEMA).with_columns(pl.col(pl.Float64).fill_nan(None))


def with_labels(rows: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """PREDICTIONS with the columns label, label_end and forward_return, sorted by decision_at; unlabelled rows are left out."""
    require_columns(rows, KEYS, "predictions")
    needed = ("decision_at", "label", "label_end", "forward_return")
    require_columns(labels, needed, "labels")
    kept = rows.join(labels.select(needed).drop_nulls(), on="decision_at", how="inner").sort("decision_at", maintain_order=True)
    if kept.is_empty():
        found = f"{rows.height} predictions, none at a decision_at of the {labels.height} labels"
        raise DataError(
            "predictions", found=found, wanted="rows of the same decisions", mend="make both from the same primary bars"
        )
    return kept


def _by_model(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(key[0]): frame for key, frame in rows.partition_by("model", as_dict=True, maintain_order=True).items()}


def _cells(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for fold in sorted(frame["fold"].unique()):
        yield fold, frame.filter(pl.col("fold") == fold)
    pooled = frame.filter(pl.col("fold") != HOLDOUT)
    if pooled.height:
        yield POOLED, pooled


class _Peers:
    """Naive and oracle forecasts, scored on exactly the rows of a cell; equal rows are scored once."""

    def __init__(self, frames: dict[str, pl.DataFrame], metrics: tuple[str, ...]) -> None:
        self.frames, self.metrics = frames, metrics
        self._scored: dict[tuple[str, bytes], dict[str, dict[str, float]]] = {}

    def on(self, model: str, cell: pl.DataFrame) -> pl.DataFrame:
        return cell.select(KEYS).join(self.frames[model], on=KEYS, how="inner", maintain_order="left")

    def scores(self, fold: str, cell: pl.DataFrame) -> dict[str, dict[str, float]]:
        """Point values by model and metric; a peer that lacks some of the rows is left out."""
        key = (fold, cell["decision_at"].to_physical().to_numpy().tobytes())
        if key not in self._scored:
            prior = _probabilities(self.on(PRIOR, cell))
            frames = {model: self.on(model, cell) for model in self.frames}
            self._scored[key] = {
                model: {name: point(METRICS[name], _forecasts(frame, prior)) for name in self.metrics}
                for model, frame in frames.items()
                if frame.height == cell.height
            }
        return self._scored[key]


def _score(cell: pl.DataFrame, fold: str, peers: _Peers, settings: TableSettings) -> Iterator[dict[str, object]]:
    forecasts = _forecasts(cell, _probabilities(peers.on(PRIOR, cell)))
    evaluations = {name: partial(METRICS[name].evaluate, forecasts) for name in settings.metrics}
    found = intervals(
        evaluations,
        cell.height,
        block=_block(cell, forecasts),
        resamples=settings.resamples,
        level=settings.level,
        seed=settings.seed,
    )
    scores = peers.scores(fold, cell)
    for name, interval in found.items():
        metric = METRICS[name]
        chance, reachable = metric.chance(forecasts), scores.get(ORACLE, {}).get(name)
        yield {
            "metric": name,
            "rows": cell.height,
            **asdict(interval),
            "chance": chance,
            **_best_naive(metric, scores),
            "reachable": reachable,
            "share_of_reachable": _share(metric, interval.value, chance, reachable),
        }


def _best_naive(metric: Metric, scores: dict[str, dict[str, float]]) -> dict[str, object]:
    values = {model: scores[model][metric.name] for model in NAIVE if not np.isnan(scores[model][metric.name])}
    if not values:
        return {"naive": None, "naive_model": None}
    best = (max if metric.better == "high" else min)(values, key=values.__getitem__)
    return {"naive": values[best], "naive_model": best}


def _share(metric: Metric, value: float, chance: float | None, reachable: float | None) -> float | None:
    """Distance from chance as a share of the oracle's; None where the oracle itself is no better than chance."""
    if chance is None or reachable is None:
        return None
    distance = reachable - chance
    return (value - chance) / distance if (distance if metric.better == "high" else -distance) > 0 else None


def _block(cell: pl.DataFrame, forecasts: Forecasts) -> int:
    """Block for both kinds of number: products of ranks (correlations, ranking) and row losses."""
    overlap = label_overlap(microseconds(cell["decision_at"]), microseconds(cell["label_end"]))
    score, outcome = (_centred_ranks(values) for values in (forecasts.score, forecasts.forward_return))
    losses = log_losses(forecasts.probabilities, forecasts.label)
    return max(block_length(series, overlap) for series in (score * outcome, losses))


def _centred_ranks(values: Floats) -> Floats:
    ranks = pl.Series(values).rank("average").to_numpy()
    return ranks - (len(ranks) + 1) / 2


def _probabilities(frame: pl.DataFrame) -> Floats:
    return frame.select(pl.col(PROBABILITIES).cast(pl.Float64)).to_numpy()


def _forecasts(frame: pl.DataFrame, reference: Floats) -> Forecasts:
    expected = frame["e_r"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    ranking = frame["ranking"].to_numpy() if "ranking" in frame.columns else None
    returns = frame["forward_return"].to_numpy()
    return Forecasts(_probabilities(frame), frame["label"].to_numpy(), returns, expected, reference, ranking)


def _oracle_rows(oracle: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    require_columns(oracle, ("decision_at", "expected_return"), "oracle")
    optional = [name for name in ("deviation", *PROBABILITIES) if name in oracle.columns]
    known = oracle.select("decision_at", "expected_return", *optional).drop_nulls()
    rows = decisions.join(known, on="decision_at", how="inner", maintain_order="left")
    if not set(PROBABILITIES) <= set(optional):
        rows = rows.with_columns(_fitted_probabilities(rows))
    return rows.with_columns(e_r=pl.col("expected_return"), ranking=pl.col("expected_return"))


def _fitted_probabilities(rows: pl.DataFrame) -> list[pl.Series]:
    """Class probabilities of a multinomial logit on expected return, its ratio to the deviation, and the log of that."""
    from sklearn.linear_model import LogisticRegression

    views = [pl.col("expected_return")]
    if "deviation" in rows.columns:
        views += [(pl.col("expected_return") / pl.col("deviation")).alias("ratio"), pl.col("deviation").log()]
    x, label = rows.select(views).to_numpy(), rows["label"].to_numpy()
    shares = {k: np.full(len(x), (label == k).mean() if len(x) else 0.0) for k in (-1, 0, 1)}
    if len(np.unique(label)) > 1:
        spread = x.std(axis=0)
        x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        model = LogisticRegression(C=1e6, max_iter=1_000).fit(x, label)
        shares |= dict(zip(model.classes_.tolist(), model.predict_proba(x).T, strict=True))
    return [pl.Series(name, shares[k - 1]) for k, name in enumerate(PROBABILITIES)]


def beyond_chance(table: pl.DataFrame, *, level: float = 0.95, metrics: tuple[str, ...] = DIRECTIONAL) -> pl.DataFrame:
    """Rows of models that differ from chance although the whole family of tests is held to `level` (Bonferroni).

    The family is every model, fold and metric of `table` that is tested. Directional metrics are tested on both sides.
    The others only on the side of skill, since a model that fits noise is rightly worse than chance there; and note
    that telling calm hours from wild ones is real skill by them, also on a market without direction.

    Returns:
        The offending rows with `p_value` (Student's t on the bootstrap standard error, blocks - 1 degrees of freedom)
        and `threshold`; empty when all cover chance.
    """
    from scipy.stats import t

    tested = table.filter((pl.col("kind") == "model") & pl.col("metric").is_in(metrics)).drop_nulls(["error", "chance"])
    side = tested["metric"].map_elements(lambda name: 1 if METRICS[name].better == "high" else -1, return_dtype=pl.Int64)
    both = tested["metric"].map_elements(lambda name: METRICS[name].directional, return_dtype=pl.Boolean).to_numpy()
    z = ((tested["value"] - tested["chance"]) / tested["error"] * side).fill_nan(0.0).to_numpy()
    freedom = (tested["blocks"] - 1).to_numpy()
    p_value = np.where(both, 2 * t.sf(np.abs(z), freedom), t.sf(z, freedom))
    scored = tested.with_columns(p_value=pl.Series(p_value), threshold=pl.lit((1 - level) / max(tested.height, 1)))
    return scored.filter(pl.col("p_value") < pl.col("threshold"))


def covers_chance(table: pl.DataFrame, *, level: float = 0.95, metrics: tuple[str, ...] = DIRECTIONAL) -> bool:
    """Whether no model, fold and metric differs from chance at the family-wise `level`; see `beyond_chance`."""
    return beyond_chance(table, level=level, metrics=metrics).is_empty()
