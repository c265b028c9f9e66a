"""The universe: which symbols exist, when they trade, what trading costs and how much risk each may take."""

from __future__ import annotations

import difflib
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

import pydantic

from quant_pipeline.config.cleaning import Adjustment, CleaningRules, DropLimits, each_date_once
from quant_pipeline.config.model import NonEmpty, Settings, read_yaml
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.config.zones import clock_of
from quant_pipeline.errors import ConfigError

DEFAULT_UNIVERSE = Path(__file__).with_name("universe.yaml")
SECONDS = ("1s", "2s", "3s", "5s", "10s", "15s", "20s", "30s")
"""Parts of a minute that a file's bars may have."""
_DAY_MINUTES = 1_440
_LONGEST_SYMBOL = 40
_NAME = re.compile(rf"(?=.{{1,{_LONGEST_SYMBOL}}}$)(?!.*\.\.)[A-Za-z0-9^][A-Za-z0-9._=^+-]*")
"""What names a symbol: of a spelling that paths, Dagster's partitions and ranges, and shells leave as it is."""


class Costs(Settings):
    """Trading costs in basis points of price: fee and slippage per side, spread once per round trip."""

    fee_bps: float = pydantic.Field(ge=0, le=1_000)
    spread_bps: float = pydantic.Field(default=0, ge=0, le=1_000)
    slippage_bps: float = pydantic.Field(default=0, ge=0, le=1_000)

    @property
    def round_trip(self) -> float:
        """Cost of entering and leaving, as a fraction of price.

        Example:
            >>> Costs(fee_bps=10, spread_bps=1, slippage_bps=0.5).round_trip
            0.0022
        """
        return (2 * (self.fee_bps + self.slippage_bps) + self.spread_bps) / 10_000


class RiskProfile(Settings):
    """Limits of one symbol (document 000, 4.2): leverage as a multiple, the others in percent of the portfolio."""

    max_leverage: float = pydantic.Field(gt=0, le=100)
    max_drawdown_pct: float = pydantic.Field(gt=0, le=100)
    max_position_pct: float = pydantic.Field(gt=0, le=100)


def _speakable(name: str) -> str:
    """`name` where it can stand in a path, a partition, a query and a shell as it is; raises `ValueError` with one that can."""
    if _NAME.fullmatch(name):
        return name
    near = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._=^+-]+", "-", name)).strip(".-=+_")[:_LONGEST_SYMBOL] or "BTC-USDT"
    message = f"at most {_LONGEST_SYMBOL} letters, digits and . _ = ^ + -, such as {near}; "
    message += "what the symbol column of a file calls it goes into files.symbol"
    raise ValueError(message)


def _keys_as_text(columns: object) -> object:
    return {str(name): meaning for name, meaning in columns.items()} if isinstance(columns, dict) else columns


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


def file_interval(value: str) -> str:
    """`value` where a file's bars may be so far apart; raises `ValueError` for others."""
    if value in SECONDS:
        return value
    if minutes(value) > _DAY_MINUTES:
        message = f"at most 1d (or of seconds: {', '.join(SECONDS)})"
        raise ValueError(message)
    return value


def _time_format(value: str | None) -> str | None:
    """A format that tells the whole date; fractions of seconds stand behind a point, and %Z would read any zone as any."""
    day = datetime(2025, 7, 31, tzinfo=UTC)
    try:
        whole = value is None or datetime.strptime(day.strftime(value), value).date() == day.date()  # noqa: DTZ007 - only the day counts
    except ValueError:
        whole = False
    if not whole or "%Z" in (value or "") or "%f" in (value or "").replace(".%f", ""):
        message = 'a strptime format with year, month and day, such as "%d.%m.%Y %H:%M:%S" (a fraction of seconds is ".%f", an '
        message += "offset %z; a zone's name is written as it stands, and the zone into files.timezone)"
        raise ValueError(message)
    return value


def _clock(value: str | None) -> str | None:
    if value is not None:
        clock_of(value)
    return value


class FileFormat(Settings):
    """How the user's own bar files are written; every convention is explicit, and what a file shows otherwise is refused.

    Attributes:
        columns: a column of the file, by its name or by its position counted from 1, to one of timestamp open high low close
            volume. Two columns that are both timestamp are date and time.
        interval: how far the bars are apart: 1m, a longer one up to 1d, or a part of a minute (1s, 5s … 30s; such bars are
            joined to minutes). Rungs that are not a multiple of it do not exist for the symbol. A daily bar is that of the
            session its stamp falls in or, outside every session, of the next one.
        symbol: what the file's symbol column calls this symbol, where it is not its name in the universe.
        timezone: zone of timestamps that carry none; null refuses those. A name such as Europe/Athens, or a clock some whole
            hours beside one: America/New_York+7h is MetaTrader's, midnight at New York's 17:00 in summer and winter.
        time_format: strptime format of the timestamps, such as "%d.%m.%Y %H:%M:%S.%f" or "%Y%m%d%H%M"; null reads ISO 8601
            and counts since 1970.
        stamp: whether a timestamp is the bar's open or close.
        volume: real, tick (ticks are counted) or absent.
        header: whether a CSV's first line names its columns; without one, `columns` does by position.
        skip_lines: lines of a CSV before the header (or, without one, before the first bar).
        decimal: the decimal sign of a CSV's numbers, "." or ",".
    """

    columns: Annotated[dict[str, str], pydantic.BeforeValidator(_keys_as_text)] = pydantic.Field(default_factory=dict)
    interval: Annotated[str, pydantic.AfterValidator(file_interval)] = "1m"
    symbol: Annotated[NonEmpty | None, pydantic.BeforeValidator(_number_as_text)] = None
    timezone: Annotated[str | None, pydantic.AfterValidator(_clock)] = None
    time_format: Annotated[str | None, pydantic.AfterValidator(_time_format)] = None
    stamp: str = pydantic.Field(default="open", pattern="^(open|close)$")
    volume: str = pydantic.Field(default="real", pattern="^(real|tick|absent)$")
    header: bool = True
    skip_lines: int = pydantic.Field(default=0, ge=0, le=1_000)
    decimal: Literal[".", ","] = "."

    @pydantic.field_validator("columns")
    @classmethod
    def _each_once(cls, columns: dict[str, str]) -> dict[str, str]:
        meant = list(columns.values())
        many = next((ours for ours in meant if meant.count(ours) > 1 + (ours == "timestamp")), None)
        if many:
            message = f"one column for each of ours, at most two for timestamp (date and time): {meant.count(many)} are {many}"
            raise ValueError(message)
        return columns

    @property
    def native(self) -> str:
        """The timeframe of the bars that the file gives: its interval, or 1m where seconds are joined."""
        return "1m" if self.interval.endswith("s") else self.interval

    @property
    def length(self) -> timedelta:
        """How far the file's own bars are apart."""
        return timedelta(seconds=int(self.interval[:-1])) if self.interval.endswith("s") else duration(self.interval)


class Instrument(Settings):
    """A series that is read: its calendar and, for the user's own files, how they are written.

    `adjustments` declares splits; `limits` says how many of its rows cleaning may drop.
    """

    description: str = ""
    calendar: str
    files: FileFormat = FileFormat()
    adjustments: tuple[Adjustment, ...] = ()
    limits: DropLimits = DropLimits()

    @pydantic.field_validator("adjustments")
    @classmethod
    def _each_date_once(cls, adjustments: tuple[Adjustment, ...]) -> tuple[Adjustment, ...]:
        each_date_once(adjustments)
        return adjustments

    @pydantic.field_validator("calendar")
    @classmethod
    def _known_calendar(cls, name: str) -> str:
        import pandas_market_calendars as calendars

        names = calendars.get_calendar_names()
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            message = f"a pandas-market-calendars name, such as {', '.join(near or ['NYSE', '24/7', 'CMEGlobex_GC'])}"
            raise ValueError(message)
        return name


class Symbol(Instrument):
    """A series that is traded: an `Instrument` with costs, correlated symbols and a risk profile."""

    costs: Costs
    correlated: tuple[str, ...] = ()
    risk: RiskProfile


SymbolName = Annotated[str, pydantic.AfterValidator(_speakable)]


class Universe(Settings):
    """All symbols by name. `symbols` are traded, `auxiliary` are only read."""

    symbols: dict[SymbolName, Symbol]
    auxiliary: dict[SymbolName, Instrument] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _correlated_exist(self) -> Self:
        for name, symbol in self.symbols.items():
            unknown = [other for other in symbol.correlated if other not in self.names]
            if unknown:
                message = f"symbols.{name}.correlated names only symbols of this file (unknown: {', '.join(unknown)})"
                raise ValueError(message)
            if name in symbol.correlated or len(set(symbol.correlated)) < len(symbol.correlated):
                message = f"symbols.{name}.correlated names others, each once, not {', '.join(symbol.correlated)}"
                raise ValueError(message)
            if name in self.auxiliary:
                message = f"{name} once, under symbols (it is traded) or under auxiliary"
                raise ValueError(message)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every symbol, traded ones first."""
        return (*self.symbols, *self.auxiliary)

    def symbol(self, name: str) -> Symbol:
        """The traded symbol `name`; raises `ConfigError` naming the nearest one."""
        if name in self.symbols:
            return self.symbols[name]
        near = difflib.get_close_matches(name.upper(), self.symbols, n=1, cutoff=0.4)
        raise ConfigError(
            f"symbol {name!r}",
            found="no entry in the universe",
            wanted=f"one of {', '.join(self.symbols)}",
            mend=f"did you mean {near[0]!r}?" if near else "add it to universe.yaml (README, 'Make it yours')",
        )

    def instrument(self, name: str) -> Instrument:
        """The traded or auxiliary symbol `name`."""
        return self.auxiliary[name] if name in self.auxiliary else self.symbol(name)

    def cleaning(self, name: str, *, judged: bool = False) -> CleaningRules:
        """How bars of `name` are cleaned; `judged` adds its limits, for training."""
        entry = self.instrument(name)
        return CleaningRules(symbol=name, adjustments=entry.adjustments, limits=entry.limits if judged else None)


def load_universe(path: Path | None = None) -> Universe:
    """Read the universe from `path`, else from `QUANT_UNIVERSE`, else the one that ships with the package."""
    chosen = path or Path(os.environ.get("QUANT_UNIVERSE", DEFAULT_UNIVERSE))
    return Universe.parse(read_yaml(chosen), str(chosen))
