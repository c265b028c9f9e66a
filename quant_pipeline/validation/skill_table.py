"""The table of skill: every metric of every model and fold with its interval, chance, the best naive model, the reachable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import microseconds, require_columns
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import DataError
from quant_pipeline.validation.baselines import ACTIVITY, NAIVE, PRIOR, activity_only, naive_forecasts
from quant_pipeline.validation.bootstrap import Interval, block_length, intervals, label_overlap
from quant_pipeline.validation.family import widened
from quant_pipeline.validation.skill import METRICS, Forecasts, Metric, log_losses, point

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from quant_pipeline.validation.bootstrap import Derived
    from quant_pipeline.validation.skill_kernels import Floats

POOLED = "all"
SPANS = (POOLED, HOLDOUT)  # what verdicts rest on; a single fold says too little of a share or of a model's twin
ORACLE = "oracle"
SHARE = "share: "
SHARED = ("ic", "auc_direction", "direction_gain", "log_loss_gain")  # shares that a person looks at get an interval
PROBABILITIES = ("p_short", "p_neutral", "p_long")
KEYS = ("fold", "decision_at")
SCHEMA = (
    dict.fromkeys(("model", "kind", "fold", "metric"), pl.Utf8)
    | {"rows": pl.Int64}
    | dict.fromkeys(("value", "low", "high", "error", "blocks", "chance", "naive"), pl.Float64)
    | {"naive_model": pl.Utf8}
    | dict.fromkeys(("reachable", "share_of_reachable", "share_low", "share_high"), pl.Float64)
    | {"looks": pl.Int64}
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

    The pool and the holdout of a model hold the level alone, its single folds hold it together: whoever looks at all
    of them finds a lucky one. `widened` does the same for a holdout that was used before.

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
        the same rows), naive_model, reachable (the oracle's value on the same rows), share_of_reachable, share_low and
        share_high (interval of the ratio, on resamples that both share; null for single folds, and where the oracle's
        own interval holds chance: such a ratio has no bounds, Fieller 1954), looks (intervals that hold the level
        together). Null: undefined. Naive models are those of `NAIVE`, and on the pool and the holdout each model's own
        `activity_only`, in the metrics that are not directional.

    Raises:
        DataError: a column is missing, or no prediction has a label.
    """
    settings = settings or TableSettings()
    rows = with_labels(predictions, labels)
    decisions = rows.select(KEYS).unique(maintain_order=True)
    naive = _by_model(with_labels(naive_forecasts(labels, decisions, around=around), labels))
    told = _by_model(rows)
    naive |= {ACTIVITY + model: activity_only(frame, naive[PRIOR]) for model, frame in told.items()}
    reachable = {} if oracle is None else {ORACLE: _oracle_rows(oracle, with_labels(decisions, labels))}
    peers = _Peers(naive | reachable, settings.metrics)
    table = [
        {"model": model, "kind": kind, "fold": fold, **record}
        for kind, frames in (("model", told), ("naive", naive), ("oracle", reachable))
        for model, frame in frames.items()
        for fold, cell in _cells(frame)
        if fold in SPANS or not model.startswith(ACTIVITY)
        for record in _score(_Cell(model, fold, cell, kind), peers, settings)
    ]
    made = pl.DataFrame(table, schema=SCHEMA).with_columns(pl.col(pl.Float64).fill_nan(None))
    single = pl.col("fold").filter(~pl.col("fold").is_in(SPANS)).n_unique().over("model")
    return widened(made, pl.when(pl.col("fold").is_in(SPANS)).then(1).otherwise(single), settings.level)


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


class _Cell(NamedTuple):
    """The rows of a model, of a naive model or of the oracle in a fold."""

    model: str
    fold: str
    rows: pl.DataFrame
    kind: str


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
                model: {name: point(METRICS[name], as_forecasts(frame, prior)) for name in self.metrics}
                for model, frame in frames.items()
                if frame.height == cell.height
            }
        return self._scored[key]


def _score(cell: _Cell, peers: _Peers, settings: TableSettings) -> Iterator[dict[str, object]]:
    rows, prior = cell.rows, _probabilities(peers.on(PRIOR, cell.rows))
    forecasts, scores = as_forecasts(rows, prior), peers.scores(cell.fold, rows)
    names = [name for name in settings.metrics if not (METRICS[name].directional and cell.model.startswith(ACTIVITY))]
    chances = {name: METRICS[name].chance(forecasts) for name in names}
    evaluations = {name: partial(METRICS[name].evaluate, forecasts) for name in names}
    shares: dict[str, Derived] = {}
    if cell.kind == "model" and cell.fold in SPANS and ORACLE in scores:
        best, told = as_forecasts(peers.on(ORACLE, rows), prior), [name for name in SHARED if name in names]
        evaluations |= {ORACLE + name: partial(METRICS[name].evaluate, best) for name in told}
        shares = {SHARE + name: partial(_ratio, name, chances[name] or 0.0) for name in told}
    found = intervals(
        evaluations,
        rows.height,
        block=block_of(rows, forecasts),
        resamples=settings.resamples,
        level=settings.level,
        seed=settings.seed,
        derived=shares,
    )
    for name in names:
        metric, reachable = METRICS[name], scores.get(ORACLE, {}).get(name)
        yield {
            "metric": name,
            "rows": rows.height,
            **asdict(found[name]),
            "chance": chances[name],
            **_best_naive(metric, scores, (*NAIVE, ACTIVITY + cell.model)),
            "reachable": reachable,
            "share_of_reachable": _share(metric, found[name].value, chances[name], reachable),
            **_share_bounds(found.get(SHARE + name), found.get(ORACLE + name), chances[name]),
            "looks": 1,
        }


def _ratio(name: str, chance: float, values: Mapping[str, Floats]) -> Floats:
    """Distance of a metric from chance over the oracle's on the same resamples, in (resamples,)."""
    best = values[ORACLE + name] - chance
    share: Floats = np.divide(values[name] - chance, best, out=np.full(len(best), np.nan), where=best != 0)
    return share


def _share_bounds(share: Interval | None, best: Interval | None, chance: float | None) -> dict[str, float | None]:
    bounded = share is not None and best is not None and chance is not None and not best.low <= chance <= best.high
    return {"share_low": share.low if bounded and share else None, "share_high": share.high if bounded and share else None}


def _best_naive(metric: Metric, scores: dict[str, dict[str, float]], rivals: tuple[str, ...]) -> dict[str, object]:
    values = {name: scores[name][metric.name] for name in rivals if name in scores and not np.isnan(scores[name][metric.name])}
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


def block_of(cell: pl.DataFrame, forecasts: Forecasts) -> int:
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


def as_forecasts(frame: pl.DataFrame, reference: Floats | None = None) -> Forecasts:
    """PREDICTIONS `with_labels` as skill wants them; for `reference` see `Forecasts`."""
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
