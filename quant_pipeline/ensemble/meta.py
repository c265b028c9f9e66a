"""The meta-learner: stack, calibrate, price. Fitted on out-of-fold rows, with the evidence for it beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.calibration import Calibrator
from quant_pipeline.ensemble.nested import MIN_ROWS, NestedForecasts, nested_oof
from quant_pipeline.ensemble.oof import BasePredictions, Outcomes, base_predictions, outcomes
from quant_pipeline.ensemble.payoff import Payoffs
from quant_pipeline.ensemble.stacking import Stacker
from quant_pipeline.ensemble.voting import vote
from quant_pipeline.files import read_parquet, replacing, write_parquet
from quant_pipeline.models.contract import PROBABILITIES, Floats
from quant_pipeline.models.folder import seal, unseal
from quant_pipeline.models.probabilities import up_probability
from quant_pipeline.validation.skill import log_loss

STACK = "stack"
LEARNER, NESTED, REPORT = "learner.json", "nested.parquet", "report.parquet"
FORMAT = 1


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
            its fold began. `stack_rows` is how many (0: the vote answered), `calibrator` which method; `e_long` and
            `e_short` are expected net returns, null where no payoffs were known.
        report: name, log_loss, rows: base models, vote, prior and every calibrator on the same rows, those of
            the folds for which a calibrator could be fitted (all rows when there are none); best first.
    """

    learner: MetaLearner
    nested: pl.DataFrame
    report: pl.DataFrame

    def save(self, folder: Path) -> None:
        """Write a sealed folder, whole or not at all: the learner as JSON, both tables as Parquet."""
        with replacing(folder) as temporary:
            temporary.mkdir(parents=True)
            write_parquet(temporary / NESTED, self.nested)
            write_parquet(temporary / REPORT, self.report)
            seal(temporary, LEARNER, {"format": FORMAT, "learner": self.learner.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; raises `BundleError` naming a changed, missing or extra file."""
        learner = MetaLearner.from_dict(unseal(folder, LEARNER)["learner"])
        nested, report = (read_parquet(folder / name, "train again") for name in (NESTED, REPORT))
        return cls(learner, nested, report)


def fit_meta(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    models: Sequence[str],
    ensemble: EnsembleSettings,
    calibration: CalibrationSettings,
    *,
    until: datetime | None = None,
) -> MetaFit:
    """Fit the meta-learner on out-of-fold rows and score it on rows it had not seen.

    Args:
        predictions: PREDICTIONS of every base model on the folds before the final test span.
        labels: LABELS, for at least those rows.
        models: base models in the order that the learner will expect.
        ensemble: method and L2 strength.
        calibration: methods that compete; the smallest nested log-loss wins, ties go to the one named first.
        until: rows whose label ended at or after this moment (UTC) are left out. Pass the first decision of the final
            test span, so that no label of these rows was still open when it began.

    Raises:
        LeakageError: rows of the final test span, or a row predicted twice.
        ModelError: a model without a row that another has, or no rows at all.
        DataError: a row without a label.
    """
    kept = predictions if until is None else _known_by(predictions, labels, until)
    base = base_predictions(kept, models)
    happened = outcomes(base, labels)
    nested = nested_oof(base, happened, ensemble, calibration)
    stacker = Stacker.fit(ensemble.meta, base.p, happened.label, ensemble.alpha) if len(base) >= MIN_ROWS else None
    learner = MetaLearner(base.models, stacker, _calibrator(nested, happened), Payoffs.fit(happened))
    return MetaFit(learner, _nested_frame(base, labels, nested), _report(base, happened, nested))


def _known_by(predictions: pl.DataFrame, labels: pl.DataFrame, until: datetime) -> pl.DataFrame:
    late = labels.filter(pl.col("label_end") >= until).select("decision_at")
    return predictions.join(late, on="decision_at", how="anti", maintain_order="left")


def _calibrator(nested: NestedForecasts, happened: Outcomes) -> Calibrator:
    stacked = nested.stack_rows > 0
    method = nested.best(happened.label, nested.scored) if int(stacked.sum()) >= MIN_ROWS else "none"
    return Calibrator.fit(method, nested.raw[stacked], happened.label[stacked])


def _nested_frame(base: BasePredictions, labels: pl.DataFrame, nested: NestedForecasts) -> pl.DataFrame:
    columns: dict[str, Any] = {"decision_at": base.decision_at, "fold": base.fold, "model": [STACK] * len(base)}
    columns |= {name: nested.final[:, k] for k, name in enumerate(PROBABILITIES)}
    columns |= {
        "p_up": up_probability(nested.final),
        "e_r": nested.e_r,
        "e_long": pl.Series(nested.e_long).fill_nan(None),
        "e_short": pl.Series(nested.e_short).fill_nan(None),
        "stack_rows": nested.stack_rows,
        "calibrator": nested.method,
    }
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
