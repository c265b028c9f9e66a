"""The universe: which symbols exist, when they trade, what trading costs and how much risk each may take."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Self

import pydantic

from quant_pipeline.config.cleaning import Adjustment, CleaningRules, DropLimits, each_date_once
from quant_pipeline.config.model import Settings, read_yaml
from quant_pipeline.errors import ConfigError

DEFAULT_UNIVERSE = Path(__file__).with_name("universe.yaml")


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


class FileFormat(Settings):
    """How the user's own bar files are written; every convention is explicit.

    `columns` maps a name in the file to one of timestamp open high low close volume. `timezone` is that of
    timestamps that carry none; null refuses them. `stamp` says whether a timestamp is the bar's open or close.
    """

    columns: dict[str, str] = pydantic.Field(default_factory=dict)
    timezone: str | None = None
    stamp: str = pydantic.Field(default="open", pattern="^(open|close)$")
    volume: str = pydantic.Field(default="real", pattern="^(real|tick|absent)$")


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


class Universe(Settings):
    """All symbols by name. `symbols` are traded, `auxiliary` are only read."""

    symbols: dict[str, Symbol]
    auxiliary: dict[str, Instrument] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _correlated_exist(self) -> Self:
        for name, symbol in self.symbols.items():
            unknown = [other for other in symbol.correlated if other not in self.names]
            if unknown:
                message = f"symbols.{name}.correlated names only symbols of this file (unknown: {', '.join(unknown)})"
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
