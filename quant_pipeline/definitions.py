"""The Dagster code location. Everything is made by `build_defs`, so that a test or another place can build its own."""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg

from quant_pipeline.features.registry import specs
from quant_pipeline.orchestration.assets.alarm import alarm_assets
from quant_pipeline.orchestration.assets.audit import audit_assets
from quant_pipeline.orchestration.assets.bars import bars_assets
from quant_pipeline.orchestration.assets.deploy import deploy_assets
from quant_pipeline.orchestration.assets.embeddings import embedding_assets
from quant_pipeline.orchestration.assets.ensemble import ensemble_assets
from quant_pipeline.orchestration.assets.features import feature_assets
from quant_pipeline.orchestration.assets.fit_audit import fit_audit_assets
from quant_pipeline.orchestration.assets.ingest import ingest_assets
from quant_pipeline.orchestration.assets.labels import label_assets
from quant_pipeline.orchestration.assets.models import model_assets
from quant_pipeline.orchestration.assets.preparation import preparation_assets
from quant_pipeline.orchestration.assets.reports import report_assets
from quant_pipeline.orchestration.assets.signals import signal_assets
from quant_pipeline.orchestration.house import House, make_house
from quant_pipeline.orchestration.io_managers import FolderIOManager, TableIOManager
from quant_pipeline.orchestration.jobs import build_jobs
from quant_pipeline.orchestration.schedules import build_schedules
from quant_pipeline.orchestration.sensors import build_sensors

# Dagster's own sensor decorators pass parameters that Dagster calls beta
warnings.filterwarnings("ignore", category=dg.BetaWarning, module=r"dagster\.")

FACTORIES = (
    ingest_assets,
    bars_assets,
    embedding_assets,
    feature_assets,
    audit_assets,
    label_assets,
    preparation_assets,
    model_assets,
    ensemble_assets,
    fit_audit_assets,
    deploy_assets,
    signal_assets,
    report_assets,
    alarm_assets,
)


def build_defs(house: House | None = None, *, resources: dict[str, Any] | None = None) -> dg.Definitions:
    """Assets, jobs, schedules and sensors of one house; `resources` replaces any of its resources.

    Raises `ConfigError` for an environment, universe or experiment that cannot be used.
    """
    chosen = house or make_house()
    specs(chosen.experiment.features.families)  # first: what is told of a new file that is no Python, its digest cannot tell
    jobs = build_jobs(chosen)
    lake = chosen.workplace.lake
    return dg.Definitions(
        assets=[asset for factory in FACTORIES for asset in factory(chosen)],
        jobs=list(jobs.values()),
        schedules=build_schedules(chosen, jobs),
        sensors=build_sensors(chosen, jobs),
        resources={
            "house": chosen,
            "io_manager": TableIOManager(lake),
            "folder_io_manager": FolderIOManager(lake),
            **(resources or {}),
        },
        executor=dg.in_process_executor,
    )


defs = build_defs()
