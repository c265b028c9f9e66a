"""Where a command works: its choices put into the environment, the home of Dagster, the house and the instance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from quant_pipeline import plugins
from quant_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import dagster as dg

    from quant_pipeline.orchestration.house import House

CHECKOUT = Path(__file__).parents[2]
PLACES = ("QUANT_UNIVERSE", "QUANT_BARS", "QUANT_NEWS", "QUANT_MACRO")
"""Variables that hold a path, which is meant from where the command was typed."""

_SHOWN = 200
"""Characters of what Dagster says of its settings."""


def choose(profile: str | None = None, experiment: str | None = None, bars: Path | None = None, as_of: str | None = None) -> None:
    """Put command-line choices into the environment, where the code location reads them, and settle DAGSTER_HOME."""
    plugins.settle()
    experiment = experiment or os.environ.get("QUANT_EXPERIMENT")
    chosen = {
        "QUANT_PROFILE": profile,
        "QUANT_EXPERIMENT": experiment and meant_from_here(experiment),
        "QUANT_BARS": bars,
        "QUANT_AS_OF": as_of,
    }
    os.environ.update({name: str(value) for name, value in chosen.items() if value is not None})
    os.environ.update({name: str(Path(os.environ[name]).absolute()) for name in PLACES if os.environ.get(name)})
    home = Path(os.environ.get("DAGSTER_HOME") or find_home()).absolute()
    if not home.is_dir():
        raise ConfigError(
            "DAGSTER_HOME", found=f"{home}, no such folder", wanted="the checkout", mend="create it or unset DAGSTER_HOME"
        )
    os.environ["DAGSTER_HOME"] = str(home)
    os.chdir(home)


def meant_from_here(name: str) -> str:
    """The path of an experiment made absolute, for commands go to DAGSTER_HOME; a bare name stays."""
    return str(Path(name).absolute()) if Path(name).suffix else name


def find_home() -> Path:
    """The nearest folder upward that holds dagster.yaml, else the checkout this package was installed from."""
    places = [Path.cwd(), *Path.cwd().parents, CHECKOUT]
    found = next((place for place in places if (place / "dagster.yaml").exists()), None)
    if found is None:
        raise ConfigError(
            "DAGSTER_HOME", found="no dagster.yaml here or above", wanted="the checkout", mend="cd into it or set DAGSTER_HOME"
        )
    return found


def open_house() -> House:
    """Workplace, universe and experiment: all that a command needs that only reads."""
    from quant_pipeline.orchestration.house import make_house

    return make_house()


def open_works() -> tuple[House, dg.Definitions, dg.DagsterInstance]:
    """The house, its definitions and the local instance."""
    from quant_pipeline.definitions import build_defs
    from quant_pipeline.orchestration.keeping import keep

    house, instance = open_house(), _instance()
    keep(instance)
    return house, build_defs(house), instance


def _instance() -> dg.DagsterInstance:
    """Dagster's own, by `dagster.yaml` of its home; raises `ConfigError` for one that it cannot read."""
    import dagster as dg
    import yaml
    from dagster._check import CheckError

    settings = Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml"
    try:
        return dg.DagsterInstance.get()
    except (yaml.YAMLError, FileNotFoundError, IsADirectoryError, TypeError, dg.DagsterInvalidConfigError, CheckError) as error:
        raise ConfigError(
            str(settings), found=" ".join(str(error).split())[:_SHOWN], wanted="settings of Dagster as this package ships them",
            mend="restore the file from where the package came from",
        ) from error  # fmt: skip
