"""The one way from out-of-fold rows of an experiment to its meta-learner, for the asset and for the audit of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.ensemble.known import gate_of
from quant_pipeline.ensemble.meta import MetaFit, fit_meta
from quant_pipeline.validation.paths import averaged, paths


def fit_ensemble(
    rows: pl.DataFrame, labels: pl.DataFrame, models: Sequence[str], experiment: Experiment, until: datetime
) -> MetaFit:
    """The meta-learner of `models` as the experiment's fold scheme asks for it; see `fit_meta`.

    Args:
        rows: PREDICTIONS of all folds before the final test span.
        labels: LABELS.
        models: names, in the order that the learner will expect.
        experiment: ensemble, calibration and splits.
        until: first decision of the final test span.
    """
    repeated = experiment.splits.scheme == "combinatorial"
    return fit_meta(
        averaged(rows) if repeated else rows, labels, models, experiment.ensemble, experiment.calibration,
        until=until, gate=gate_of(experiment.splits), paths=paths(rows) if repeated else None,
    )  # fmt: skip
