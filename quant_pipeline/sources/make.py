"""The one place that knows which profile is which source."""

from __future__ import annotations

import difflib
from pathlib import Path

from quant_pipeline.config.experiment import SimulatedSettings
from quant_pipeline.config.universe import Universe
from quant_pipeline.config.workplace import PROFILES
from quant_pipeline.errors import ConfigError
from quant_pipeline.sources.base import MarketSource


def make_source(profile: str, universe: Universe, *, folder: Path, simulated: SimulatedSettings) -> MarketSource:
    """The market source of a profile.

    Args:
        profile: simulated, files or yahoo.
        universe: the symbols, their calendars and how their files are written.
        folder: where the user's files are; only `files` reads it.
        simulated: seed and planted effects; only `simulated` reads it.

    Raises:
        ConfigError: an unknown profile, or a folder of `files` that is not there.
    """
    if profile == "simulated":
        from quant_pipeline.sources.simulated.source import SimulatedSource

        return SimulatedSource(
            universe,
            seed=simulated.seed,
            null=simulated.no_signal,
            signal=simulated.signal,
            news_effect=simulated.news_effect,
            macro_effect=simulated.macro_effect,
        )
    if profile == "files":
        from quant_pipeline.sources.files import FilesSource

        return FilesSource(_existing(folder), universe)
    if profile == "yahoo":
        from quant_pipeline.sources.yahoo import YahooSource

        return YahooSource(universe)
    near = difflib.get_close_matches(profile, PROFILES, n=1)
    raise ConfigError(
        f"profile {profile!r}", found="an unknown name", wanted=f"one of {', '.join(PROFILES)}",
        mend=f"did you mean {near[0]!r}?" if near else "pass one of them with --profile",
    )  # fmt: skip


def _existing(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    raise ConfigError(
        f"folder {folder}",
        found="no such folder",
        wanted="the folder of your bar files",
        mend="create it, or name it with --bars",
    )
