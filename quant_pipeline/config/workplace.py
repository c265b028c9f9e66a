"""Where this installation works: profile, data folders and clock, from the environment or the command line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self, cast, get_args
from urllib.parse import quote

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.errors import ConfigError

Profile = Literal["simulated", "files", "yahoo"]
PROFILES: tuple[str, ...] = get_args(Profile)


@dataclass(frozen=True)
class Workplace:
    """Folders and clock of one experiment in one world of one profile.

    A world is a market: all simulated bars of one seed and its settings, all files of one folder, all that Yahoo tells.
    What came from a source is kept once a world and shared by its experiments; what an experiment made of it lies in
    a folder of its own. So neither two markets nor two experiments ever meet in one table.

    `as_of` pins the clock (a run, a replay, a test); None means the wall clock. `macro_folder` is the user's, where it is
    named (QUANT_MACRO). `world`, `experiment` and `releases_name` are names of folders, see `settled`.
    """

    profile: Profile
    data: Path
    bars_folder: Path
    as_of: datetime | None = None
    world: str = ""
    experiment: str = ""
    macro_folder: str = ""
    releases_name: str = "releases"

    def settled(self, experiment: Experiment) -> Self:
        """The workplace of `experiment`; its world follows from the profile and, if simulated, from the experiment."""
        return replace(
            self, world=self._world(experiment), experiment=_folder_name(experiment.name),
            releases_name=self._releases_name(experiment),
        )  # fmt: skip

    def _releases_name(self, experiment: Experiment) -> str:
        """Releases are dated by the settings of `macro` and come from one place; those dated otherwise never meet them."""
        terms = json.dumps(experiment.macro.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        if self.profile == "simulated" or (terms == "{}" and not self.macro_folder):
            return "releases"
        place = os.path.abspath(self.macro_folder) if self.macro_folder else ""  # noqa: PTH100 - a link counts as what it is called
        return f"releases-{_digest(f'{place} {terms}')}"

    def _world(self, experiment: Experiment) -> str:
        if self.profile == "simulated":
            market = experiment.simulated
            return f"seed{market.seed}-{_digest(market.model_dump_json())}"
        if self.profile == "files":
            return f"{_folder_name(self.bars_folder.absolute().name)}-{_digest(self._bars_place())}"
        return self.profile

    def _bars_place(self) -> str:
        """The folder of bars, told from the data folder where it lies in it, so that both may be moved together."""
        bars, data = self.bars_folder.absolute(), self.data.absolute()
        return bars.relative_to(data).as_posix() if bars.is_relative_to(data) else bars.as_posix()

    @property
    def _place(self) -> Path:
        if not (self.world and self.experiment):
            raise ConfigError(
                "workplace", found="no world or experiment", wanted="those of an experiment", mend="take it from a House"
            )
        return Path(self.profile) / self.world / self.experiment

    @property
    def shared(self) -> Path:
        """What the sources of this world told, whichever experiment asked."""
        return self.data / "lake" / self._place.parent

    @property
    def lake(self) -> Path:
        """Tables made by assets."""
        return self.shared / "experiments" / self.experiment

    @property
    def raw(self) -> Path:
        """Raw bars as they came, append-only."""
        return self.shared / "raw"

    @property
    def releases(self) -> Path:
        """Macro vintages as they came, as the experiment's settings date them."""
        return self.shared / self.releases_name

    @property
    def bundles(self) -> Path:
        """Deployable bundles, one folder each."""
        return self.data / "bundles" / self._place

    @property
    def signals(self) -> Path:
        """Emitted signals: JSON files and a Parquet table per symbol."""
        return self.lake / "signals"

    @property
    def reports(self) -> Path:
        """HTML pages and pictures."""
        return self.pages / self._place

    @property
    def pages(self) -> Path:
        """Reports of every profile, world and experiment: what `quant ui` serves."""
        return self.data / "reports"

    def history(self, root: Path) -> Path:
        """Dagster's own record of runs under `root`: one an experiment, so that none mistakes another's tables for its own."""
        return root / str(self._place).replace("%", ",")  # Dagster makes an address of it, in which % has a meaning

    @property
    def alerts(self) -> Path:
        """What was sent, so that nothing is sent twice."""
        return self.lake / "alerts.sqlite"

    def now(self) -> datetime:
        """The pinned moment, else the wall clock (UTC)."""
        return self.as_of or datetime.now(UTC)

    def environment(self) -> dict[str, str]:
        """The variables that make another process work in the same place."""
        pinned = {"QUANT_AS_OF": self.as_of.isoformat()} if self.as_of else {}
        return {"QUANT_PROFILE": self.profile, "QUANT_DATA": str(self.data), "QUANT_BARS": str(self.bars_folder), **pinned}


def _folder_name(name: str) -> str:
    return quote(name, safe="^=+ ")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def workplace(environment: Mapping[str, str] | None = None) -> Workplace:
    """Read QUANT_PROFILE, QUANT_DATA, QUANT_BARS, QUANT_MACRO and QUANT_AS_OF; raises `ConfigError` for what cannot be used."""
    given = os.environ if environment is None else environment
    profile = given.get("QUANT_PROFILE", "simulated")
    if profile not in PROFILES:
        raise ConfigError(
            "profile", found=repr(profile), wanted=f"one of {', '.join(PROFILES)}", mend="set QUANT_PROFILE or pass --profile"
        )
    data = Path(given.get("QUANT_DATA", "data"))
    return Workplace(
        cast("Profile", profile),
        data,
        Path(given.get("QUANT_BARS", data / "raw")),
        parse_moment(given.get("QUANT_AS_OF"), "as-of"),
        macro_folder=given.get("QUANT_MACRO", ""),
    )


def parse_moment(text: str | None, name: str) -> datetime | None:
    """The moment that an ISO text with a zone tells, in UTC; None for no text. Raises `ConfigError`, which calls it `name`."""
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        told = None
    if told is None or told.tzinfo is None:
        raise ConfigError(
            name, found=repr(text), wanted="an ISO time with a zone", mend="write 2026-11-16T10:00:00+00:00, for example"
        )
    return told.astimezone(UTC)


def training_cutoff(moment: datetime) -> datetime:
    """The last Monday 00:00 UTC at or before `moment`: training sees bars up to it, so a week's runs share their models.

    Example:
        >>> training_cutoff(datetime(2026, 11, 21, 3, tzinfo=UTC)).isoformat()
        '2026-11-16T00:00:00+00:00'
    """
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=midnight.weekday())
