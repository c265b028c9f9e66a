"""What goes wrong in a simulated month: sources and Telegram that are down, bundles that are gone, a machine that sleeps."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from quant_pipeline.errors import SourceError, UnreachableError
from quant_pipeline.orchestration.house import House
from quant_pipeline.sources.simulated.source import SimulatedSource

START = datetime(2025, 10, 30, 13, tzinfo=UTC)
"""A Thursday; New York leaves summer time on the Sunday, and Thanksgiving and its half day are four weeks away."""


def at(told: str) -> datetime:
    """A moment of the month, which is told as 11-04 09:10."""
    return datetime.fromisoformat(f"2025-{told}+00:00")


class Span(NamedTuple):
    """[start, end)."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: str, end: str) -> Span:
        return cls(at(start), at(end))

    def holds(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


class Kill(NamedTuple):
    """The run of a decision dies right before or after a file whose path ends so gets its name."""

    symbol: str
    decision: datetime
    when: str
    path: str


SOURCE_DOWN = (Span.of("10-30 17:00", "10-30 20:00"), Span.of("11-13 09:00", "11-13 13:00"))
MACRO_DOWN = (Span.of("10-30 21:00", "10-31 01:00"), Span.of("11-12 15:00", "11-12 20:00"))
NO_BUNDLE = (("SPY", Span.of("10-31 14:15", "10-31 17:15")), ("GC=F", Span.of("11-19 03:15", "11-19 06:15")))
TELEGRAM_DOWN = (Span.of("10-31 05:00", "10-31 08:00"), Span.of("11-13 08:00", "11-13 16:00"))
ASLEEP = (
    Span.of("10-31 22:10", "11-03 07:20"), Span.of("11-04 09:10", "11-04 18:20"), Span.of("11-24 03:10", "11-24 12:40"),
)  # fmt: skip
"""The first time over the weekend in which New York's clocks go back."""
POWER_CUTS = (Span.of("10-31 10:05", "10-31 10:40"), Span.of("11-18 15:05", "11-18 16:55"))
"""The runs of the first tick are cut off or stay in the queue, and the machine is off until the end."""
KILLS = (
    Kill("BTC-USD", at("10-31 03:00"), "before", "progress.json"),
    Kill("BTC-USD", at("10-31 12:00"), "before", "signals/BTC-USD.parquet"),
    Kill("GC=F", at("11-05 16:00"), "before", "progress.json"),
    Kill("AAPL", at("11-14 16:30"), "before", "signals/AAPL.parquet"),
    Kill("CL=F", at("11-26 09:00"), "after", "progress.json"),
)


@dataclass
class Phone:
    """A Telegram that remembers what it was told, and when; refuses while `down`."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    def answer(self, text: str) -> tuple[int, dict[str, object]]:
        if self.down:
            return 502, {"ok": False, "description": "Bad Gateway"}
        self.texts.append((datetime.now(UTC).isoformat(), text))
        return 200, {"ok": True, "result": {"message_id": len(self.texts)}}


@dataclass
class Mishaps:
    """Begins and ends, as the clock passes, what is wrong at a moment."""

    house: House
    phone: Phone
    begun: dict[str, ExitStack] = field(default_factory=dict)

    def update(self, now: datetime) -> None:
        for name, spans, begin in self._all():
            wrong = any(span.holds(now) for span in spans)
            if wrong and name not in self.begun:
                self.begun[name] = ExitStack()
                self.begun[name].enter_context(begin())
            elif not wrong and name in self.begun:
                self.begun.pop(name).close()

    def _all(self) -> Iterator[tuple[str, tuple[Span, ...], Callable[[], AbstractContextManager[object]]]]:
        yield "source", SOURCE_DOWN, lambda: _raising("fetch", UnreachableError, "bars")
        yield "macro", MACRO_DOWN, lambda: _raising("releases", SourceError, "releases")
        yield "telegram", TELEGRAM_DOWN, lambda: mock.patch.object(self.phone, "down", new=True)
        for symbol, span in NO_BUNDLE:
            yield f"bundle of {symbol}", (span,), lambda symbol=symbol: self._gone(symbol)

    @contextmanager
    def _gone(self, symbol: str) -> Iterator[None]:
        live = self.house.champions.live_at(symbol, self.house.workplace.now())
        assert live
        path = self.house.workplace.bundles / symbol / live
        aside = Path(f"{self.house.workplace.data}-{symbol}")
        shutil.move(path, aside)
        yield
        shutil.move(aside, path)


def _raising(method: str, kind: type[SourceError], wanted: str) -> AbstractContextManager[object]:
    error = kind("simulated market", found="no answer: the month has it so", wanted=wanted, mend="wait")
    return mock.patch.object(SimulatedSource, method, side_effect=error)
