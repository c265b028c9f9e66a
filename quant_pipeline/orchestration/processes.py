"""Other processes of our own: started in the same place, with the same settings, and talked to in JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_pipeline.orchestration.house import House

PROCESSES = "QUANT_PROCESSES"
"""The variable that says how many processes one run may be at work in."""
CORES = 2
"""What the pipeline is made for: more processes than that were never measured."""


def processes() -> int:
    """In how many processes a run works: as many as there are cores, up to two, unless `QUANT_PROCESSES` says fewer.

    Raises:
        ConfigError: a number that cannot be used.
    """
    from quant_pipeline.errors import ConfigError

    given = os.environ.get(PROCESSES, "")
    if given and given not in {"1", "2"}:
        raise ConfigError(PROCESSES, found=repr(given), wanted="1 or 2", mend=f"unset {PROCESSES}, or set it to 1 to save memory")
    return min(int(given or CORES), os.cpu_count() or 1)


def start(module: str, arguments: Sequence[str], house: House, streams: Mapping[str, IO[Any] | int]) -> subprocess.Popen[bytes]:
    """Run `module` as a program that works where `house` does; `streams` are those of `subprocess.Popen`.

    It is a process group of its own: Ctrl-C at the terminal is meant for the run, which ends it.
    """
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    environment = {**os.environ, **house.workplace.environment(), "PYTHONPATH": path}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env=environment, process_group=0, **streams)  # type: ignore[call-overload,no-any-return] # noqa: S603 - a command of our own


def told_settings(house: House) -> dict[str, Any]:
    """All settings of `house`, for `house_of` in another process."""
    whole = house.origin or house
    return {"universe": whole.universe.model_dump(mode="json"), "experiment": whole.experiment.model_dump(mode="json")}


def house_of(told: Mapping[str, Any]) -> House:
    """The house of `told_settings`, in the place that the environment names."""
    from quant_pipeline.config.experiment import Experiment
    from quant_pipeline.config.universe import Universe
    from quant_pipeline.orchestration.house import make_house

    universe = Universe.parse(told["universe"], "universe of another process")
    return make_house(universe=universe, experiment=Experiment.parse(told["experiment"], "experiment of another process"))
