"""Where this installation works: profile, data folders and clock, from the environment or the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, cast, get_args

from quant_pipeline.errors import ConfigError

Profile = Literal["simulated", "files", "yahoo"]
PROFILES: tuple[str, ...] = get_args(Profile)


@dataclass(frozen=True)
class Workplace:
    """Folders and clock of one profile; profiles never share a lake, so simulated and real rows cannot meet.

    `as_of` pins the clock (a replay, a test); None means the wall clock.
    """

    profile: Profile
    data: Path
    bars_folder: Path
    as_of: datetime | None = None

    @property
    def lake(self) -> Path:
        """Tables made by assets."""
        return self.data / "lake" / self.profile

    @property
    def raw(self) -> Path:
        """Raw bars as they came, append-only."""
        return self.lake / "raw"

    @property
    def bundles(self) -> Path:
        """Deployable bundles, one folder each."""
        return self.data / "bundles" / self.profile

    @property
    def signals(self) -> Path:
        """Emitted signals: JSON files and a Parquet table per symbol."""
        return self.lake / "signals"

    @property
    def reports(self) -> Path:
        """HTML pages and pictures."""
        return self.data / "reports" / self.profile

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


def workplace(environment: Mapping[str, str] | None = None) -> Workplace:
    """Read QUANT_PROFILE, QUANT_DATA, QUANT_BARS and QUANT_AS_OF; raises `ConfigError` for a value that cannot be used."""
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
