"""Dagster's record of runs: one a profile, world and experiment, so that none takes another's tables for its own.

Dagster knows an asset's last materialization by its key alone. In one record for all, features of one experiment would
look fresh because another made its own, and the UI would show rows of one profile beside those of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.workplace import workplace

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData


class History(DagsterSqliteStorage):
    """SQLite under `base_dir`, in a folder of the experiment that the environment names."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:
        """What `dagster.yaml` asks for; raises `ConfigError` for an environment that cannot be used."""
        place = workplace().settled(load_experiment())
        return cls.from_local(base_dir=str(place.history(Path(config_value["base_dir"]))), inst_data=inst_data)
