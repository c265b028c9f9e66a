"""Dagster's record of runs: one a profile, world and experiment, so that none takes another's tables for its own.

Dagster knows an asset's last materialization by its key alone. In one record for all, features of one experiment would
look fresh because another made its own, and the UI would show rows of one profile beside those of another.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory

from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.workplace import workplace
from quant_pipeline.files import locked, refusal, stands
from quant_pipeline.orchestration.event_log import EventLog

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData


_BASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")


def _check(base: Path) -> None:
    """Refuse, by its name, a folder or a link to nothing where a database belongs: SQLite only says that it cannot open."""
    for path in (base / name for name in _BASES):
        if stands(path) and not path.is_file():
            raise refusal(path, FileExistsError(errno.EEXIST, "not a file"))


class History(DagsterSqliteStorage):
    """SQLite under `base_dir`, in a folder of the experiment that the environment names.

    Processes that open a new home at once set up its databases one after another: Alembic does not know how to share that.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        with locked(Path(base_dir) / ".lock"):
            _check(Path(base_dir))
            super().__init__(base_dir, inst_data)
        self._event_log_storage = EventLog(_event_logs_directory(base_dir))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:
        """What `dagster.yaml` asks for; raises `ConfigError` for an environment that cannot be used."""
        place = workplace().settled(load_experiment())
        return cls.from_local(base_dir=str(place.history(Path(config_value["base_dir"]))), inst_data=inst_data)
