"""The meta-learner: stack, calibrate, price. Fitted on out-of-fold rows, with the evidence for it beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import to_microseconds
from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.calibration import Calibrator
from quant_pipeline.ensemble.known import Gate, before, by_time
from quant_pipeline.ensemble.nested import MIN_ROWS, NestedForecasts, nested_oof
from quant_pipeline.ensemble.oof import SCHEMA, BasePredictions, Outcomes, base_predictions, outcomes
from quant_pipeline.ensemble.payoff import Payoffs
from quant_pipeline.ensemble.stacking import Stacker
from quant_pipeline.ensemble.voting import vote
from quant_pipeline.files import read_parquet, replacing, write_parquet
from quant_pipeline.models.contract import PROBABILITIES, Floats
from quant_pipeline.models.folder import seal, unseal
from quant_pipeline.models.probabilities import up_probability
from quant_pipeline.validation.skill import log_loss

STACK = "stack"
LEARNER, NESTED, PATHS, REPORT = "learner.json", "nested.parquet", "paths.parquet", "report.parquet"
FORMAT = 2
PATH_SCHEMA = {**SCHEMA, "path": pl.String()}


@dataclass(frozen=True)
class MetaLearner:
    """The fitted combination: base probabilities (n, M, 3) in, calibrated probabilities out, with class payoffs.

    `stacker` is None where there were too few rows to fit one: then the vote answers.
    """

    models: tuple[str, ...]
    stacker: Stacker | None
    calibrator: Calibrator
    payoffs: Payoffs

    def combine(self, p: Floats) -> Floats:
        """Calibrated probabilities (n, 3) of base probabilities (n, M, 3) in the order of `models`."""
        return self.calibrator.apply(vote(p) if self.stacker is None else self.stacker.combine(p))

    def to_dict(self) -> dict[str, Any]:
        """A JSON form; floats survive JSON exactly."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Rebuild from `to_dict`, or from JSON of it."""
        stacker = None if value["stacker"] is None else Stacker.from_dict(value["stacker"])
        calibrator, payoffs = Calibrator.from_dict(value["calibrator"]), Payoffs.from_dict(value["payoffs"])
        return cls(tuple(value["models"]), stacker, calibrator, payoffs)


@dataclass(frozen=True, eq=False)
class MetaFit:
    """A fitted meta-learner with the evidence for it.

    Attributes:
        learner: fitted on all rows given; what a bundle carries.
        nested: PREDICTIONS of model `stack`, each row by a stack, calibrator and payoffs fitted on rows known before
            its fold began, or in other folds (see `nested_oof`). `stack_rows` is how many (0: the vote answered),
            `calibrator` which method; `e_long` and `e_short` are expected net returns, null where no payoffs were known.
        paths: of a combinatorial scheme, what `nested` says but of each path's base predictions, with `path`; else empty.
        report: name, log_loss, rows: base models, vote, prior and every calibrator on the same rows, those of
            the folds for which a calibrator could be fitted (all rows when there are none); best first.
    """

    learner: MetaLearner
    nested: pl.DataFrame
    paths: pl.DataFrame
    report: pl.DataFrame

    def save(self, folder: Path) -> None:
        """Write a sealed folder, whole or not at all: the learner as JSON, both tables as Parquet."""
        with replacing(folder) as temporary:
            temporary.mkdir(parents=True)
            write_parquet(temporary / NESTED, self.nested)
            write_parquet(temporary / PATHS, self.paths)
            write_parquet(temporary / REPORT, self.report)
            seal(temporary, LEARNER, {"format": FORMAT, "learner": self.learner.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; raises `BundleError` naming a changed, missing or extra file."""
        learner = MetaLearner.from_dict(unseal(folder, LEARNER)["learner"])
        return cls(learner, *(read_parquet(folder / name, "train again") for name in (NESTED, PATHS, REPORT)))


def fit_meta(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    models: Sequence[str],
    ensemble: EnsembleSettings,
    calibration: CalibrationSettings,
    *,
    until: datetime | None = None,
    gate: Gate = by_time,
    paths: Mapping[str, pl.DataFrame] | None = None,
) -> MetaFit:
    """Fit the meta-learner on out-of-fold rows and score it on rows it had not seen.

    Args:
        predictions: PREDICTIONS of every base model on the folds before the final test span.
        labels: LABELS, for at least those rows.
        models: base models in the order that the learner will expect.
        ensemble: method and L2 strength.
        calibration: methods that compete; the smallest nested log-loss wins, ties go to the one named first.
        until: what was known only at or after this moment (UTC) is left out: rows by `label_end`, and from all payoffs
            also those by `horizon_end`. Pass the first decision of the final test span, so that nothing that happened in
            it is learned from.
        gate: what may be known where a fold is forecast; see `known.gate_of`.
        paths: PREDICTIONS of each path of a combinatorial scheme, of which `predictions` are the average.

    Raises:
        LeakageError: rows of the final test span, or a row predicted twice.
        ModelError: a model without a row that another has, or no rows at all.
        DataError: a row without a label.
    """
    base = base_predictions(_known_by(predictions, labels, until), models)
    others = {name: base_predictions(_known_by(each, labels, until), models) for name, each in (paths or {}).items()}
    happened = outcomes(base, labels)
    nested = nested_oof(base, happened, ensemble, calibration, gate if until is None else before(until, gate))
    stacker = Stacker.fit(ensemble.meta, base.p, happened.label, ensemble.alpha) if len(base) >= MIN_ROWS else None
    told = slice(None) if until is None else happened.horizon_end < to_microseconds(until, "until")
    learner = MetaLearner(base.models, stacker, _calibrator(nested, happened), Payoffs.fit(happened, told))
    along = [_frame(other, labels, *nested.along(other)).with_columns(path=pl.lit(name)) for name, other in others.items()]
    report = _report(base, happened, nested)
    return MetaFit(learner, _nested_frame(base, labels, nested), pl.concat([pl.DataFrame(schema=PATH_SCHEMA), *along]), report)


def _known_by(predictions: pl.DataFrame, labels: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    if until is None:
        return predictions
    late = labels.filter(pl.col("label_end") >= until).select("decision_at")
    return predictions.join(late, on="decision_at", how="anti", maintain_order="left")


def _calibrator(nested: NestedForecasts, happened: Outcomes) -> Calibrator:
    stacked = nested.stack_rows > 0
    method = nested.best(happened.label, nested.scored) if int(stacked.sum()) >= MIN_ROWS else "none"
    return Calibrator.fit(method, nested.raw[stacked], happened.label[stacked])


def _nested_frame(base: BasePredictions, labels: pl.DataFrame, nested: NestedForecasts) -> pl.DataFrame:
    return _frame(base, labels, nested.final, nested.e_r).with_columns(
        e_long=pl.Series(nested.e_long).fill_nan(None),
        e_short=pl.Series(nested.e_short).fill_nan(None),
        stack_rows=nested.stack_rows,
        calibrator=nested.method,
    )


def _frame(base: BasePredictions, labels: pl.DataFrame, p: Floats, e_r: Floats) -> pl.DataFrame:
    columns: dict[str, Any] = {"decision_at": base.decision_at, "fold": base.fold, "model": [STACK] * len(base)}
    columns |= {name: p[:, k] for k, name in enumerate(PROBABILITIES)} | {"p_up": up_probability(p), "e_r": e_r}
    stamps = labels.select("decision_at", "timestamp")
    stamped = pl.DataFrame(columns).join(stamps, on="decision_at", how="left", maintain_order="left")
    return stamped.select("timestamp", pl.exclude("timestamp"))


def _report(base: BasePredictions, happened: Outcomes, nested: NestedForecasts) -> pl.DataFrame:
    rows = nested.scored if nested.scored.any() else np.ones(len(base), dtype=np.bool_)
    forecasts = {name: base.p[:, index] for index, name in enumerate(base.models)}
    forecasts |= {"vote": vote(base.p), "prior": nested.prior, STACK: nested.final}
    if nested.scored.any():
        forecasts |= {f"{STACK}, {method}": p for method, p in nested.calibrated.items()}
    losses = [log_loss(p[rows], happened.label[rows]) for p in forecasts.values()]
    frame = pl.DataFrame({"name": list(forecasts), "log_loss": losses, "rows": [int(rows.sum())] * len(losses)})
    return frame.sort("log_loss", maintain_order=True)
