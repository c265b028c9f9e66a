"""Every fold and every model of the default experiment, made again from what the fold could know: the same bytes.

The asset `fit_audit` does so in each training for the holdout fold and the model that is quick to fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quant_pipeline.bars.build import finest_path
from quant_pipeline.config.experiment import LabelSettings
from quant_pipeline.inference.fit_audit import audit_fold, audit_tables
from quant_pipeline.inference.training import FoldFits, Training
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.models.registry import load_model

if TYPE_CHECKING:
    from quant_pipeline_tests.proofs.conftest import Run


def training(run: Run) -> Training:
    experiment = run.house.experiment
    rungs = {rung: run.table(f"bars/{rung}") for rung in experiment.ladder}
    return Training(
        primary=rungs[experiment.primary], path=finest_path(rungs), features=run.table("features"),
        costs=run.house.symbol(run.symbol).costs, experiment=experiment,
        barriers=LabelSettings.parse(run.table("barriers").row(0, named=True), "barriers"),
        labels=run.table("labels"), weights=run.table("sample_weights"), splits=run.table("splits"),
    )  # fmt: skip


def fits(run: Run, fold: str) -> FoldFits:
    lake, names = run.house.workplace.lake, [model.name for model in run.house.experiment.models]
    models = {name: load_model(lake / "models" / name / fold / run.symbol) for name in names}
    chosen = Preparation.load(lake / "selection" / fold / run.symbol)
    return FoldFits(fold, chosen, models, run.table(f"oof_predictions/{fold}"))


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("symbol", ["GC=F", "BTC-USD"])
def test_every_fold_of_the_default_experiment_is_made_again_from_its_past(train, default, symbol):
    run = train(symbol, default)
    read = training(run)
    assert run.table("fit_audit").is_empty()
    assert audit_tables(read).to_dicts() == []
    for fold in default.splits.fold_names:
        made = fits(run, fold)
        assert audit_fold(read, made, tuple(made.models)).to_dicts() == [], fold
