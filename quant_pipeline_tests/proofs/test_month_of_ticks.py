"""A month of ticks over six symbols in three calendars, with outages, DST, kills, power cuts and a sleeping machine.

Each due decision has one row, each trouble one message with its count and its end, and nothing is left unfinished. The
clock of the whole process is ours, so schedules, sensors, queue, retention and SQLite all live through the same month.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from quant_pipeline.inference.schedule import decision_moments
from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.orchestration.burial import UNFINISHED
from quant_pipeline.orchestration.hours import SETTLED
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.keeping import KEPT
from quant_pipeline.orchestration.replaying import replay_symbol
from quant_pipeline_tests.conftest import Home
from quant_pipeline_tests.proofs.machine import Clock
from quant_pipeline_tests.proofs.mishaps import ASLEEP, KILLS, MACRO_DOWN, NO_BUNDLE, POWER_CUTS, SOURCE_DOWN, START, Span
from quant_pipeline_tests.proofs.month import SYMBOLS

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]

DAYS = float(os.environ.get("QUANT_MONTH_DAYS", "5.5"))
"""How much of the month is lived: 31 is all of it. The first 5.5 days, which fit into half an hour, hold each kind of mishap."""


def _end(days: float) -> datetime:
    """The end of so many days; where the machine is off by then, two hours after it woke: what it missed is made up there."""
    end = START + timedelta(days=days)
    return next((span.end + timedelta(hours=2) for span in (*ASLEEP, *POWER_CUTS) if span.holds(end)), end)


END = _end(DAYS)
TINY: dict[str, Any] = {
    "name": "tiny", "history_days": 120, "ladder": ["1m", "1h"], "labels": {"tune_trials": 0},
    "features": {"families": ["returns", "macro"], "zscore_window": 100, "zscore_min_periods": 30},
    "splits": {"folds": 2, "embargo": "5h"}, "models": [{"name": "logistic", "params": {"C": 0.003, "max_iter": 60}}],
}  # fmt: skip
SUCCESS = dg.DagsterRunStatus.SUCCESS
_NOTE = re.compile(r"\A((Delayed|Possibly repeated): .*\n)+")


@dataclass(frozen=True)
class Lived:
    """What is left of the month: the house, and what the machine said of itself."""

    home: Home
    told: dict[str, Any]
    end: datetime

    @property
    def house(self) -> House:
        return self.home.house(as_of=self.end)

    @property
    def texts(self) -> list[str]:
        """Messages, without the lines that say that one comes late."""
        return [_NOTE.sub("", text) for _, text in self.told["texts"]]

    def begun(self, head: str) -> list[str]:
        return [text for text in self.texts if text.startswith(head)]

    def rows(self, symbol: str) -> dict[datetime, str]:
        return dict(self.house.signals.table(symbol).select("as_of", "status").rows())

    def closes(self, symbol: str, span: Span, room: timedelta = timedelta(0)) -> list[datetime]:
        """Closes in a span that was lived, but for `room` before its end."""
        calendar, end = self.house.symbol(symbol).calendar, min(span.end, self.end) - room
        return decision_moments(calendar, "1h", span.start, end) if span.start < end else []

    def lived(self, spans: Iterable[Span], symbol: str) -> int:
        """In how many of the spans a decision of the symbol was asked for."""
        return sum(bool(self.closes(symbol, Span(span.start - SETTLED, span.end), SETTLED)) for span in spans)


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Lived:
    if not shutil.which("cc"):
        pytest.skip("the clock is a few lines of C, and there is no compiler")
    root = tmp_path_factory.mktemp("month")
    home, clock = Home.make(root, TINY), Clock.build(tmp_path_factory.mktemp("clock"), START - timedelta(hours=2))
    place = {name: value for name, value in home.environment().items() if name != "QUANT_AS_OF"}
    command = [sys.executable, "-m", "quant_pipeline_tests.proofs.month", END.isoformat()]
    environment = {**os.environ, **place, **clock.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return Lived(home, json.loads(done.stdout), END)


def expected(looks: list[dict[str, Any]]) -> tuple[int, int]:
    """How many troubles began, and how many rows belong to troubles that are over, as somebody sees who looks at the rows."""
    begun = over = waiting = 0
    kinds: set[str] = set()
    for look in looks:
        for _, status in look["fresh"]:
            begun += status not in kinds
            kinds.add(status)
        waiting += len(look["fresh"])
        if look["ok"]:
            over, waiting = over + waiting, 0
            kinds.clear()
    return begun, over


def counted(text: str) -> int:
    """How many sights of a trouble the message of its end counts; none in another message."""
    lines = text.split("\n")
    line = lines[1] if text.startswith("OVER ") else "\n".join(lines[-2:]) if lines[-1].startswith("over after") else ""
    times = [int(many) if many else 1 for many in re.findall(r"once|(\d+) times", line)]
    return sum(times) or bool(line)


def test_every_due_decision_has_one_row(lived):
    for symbol in SYMBOLS:
        rows = lived.rows(symbol)
        assert list(rows) == lived.closes(symbol, Span(min(rows), lived.end), timedelta(minutes=10)), symbol


def test_a_row_says_what_was_wrong_and_most_are_well(lived):
    for symbol in SYMBOLS:
        rows = lived.rows(symbol)
        hour = timedelta(hours=1)
        slept = [at for span in (*ASLEEP, *POWER_CUTS) for at in lived.closes(symbol, span, 1.25 * hour)]
        old = [at for span in SOURCE_DOWN for at in lived.closes(symbol, span, hour)]
        headless = [at for name, span in NO_BUNDLE if name == symbol for at in lived.closes(symbol, span, SETTLED)]
        assert {rows[at] for at in slept} <= {"late"}
        assert {rows[at] for at in old} <= {"stale"}
        assert {rows[at] for at in headless} <= {"failed"}
        rest = [status for at, status in rows.items() if at not in {*slept, *old, *headless}]
        assert rest.count("ok") > 0.8 * len(rest), Counter(rest)


def test_every_trouble_of_signals_is_one_message_and_every_row_is_counted_in_its_end(lived):
    for symbol in SYMBOLS:
        begun, over = expected([look for look in lived.told["looks"] if look["symbol"] == symbol])
        head = f"SIMULATED {symbol}: NO SIGNAL"
        assert len(lived.begun(head)) == begun, symbol
        assert sum(map(counted, [*lived.begun(head), *lived.begun(f"OVER {symbol} signals,")])) == over, symbol


def test_every_outage_is_one_message_and_its_end_another(lived):
    assert_told(lived, "OUTAGE", "macro_series", lived.lived(MACRO_DOWN, "BTC-USD"))
    for symbol in SYMBOLS:
        assert_told(lived, "OUTAGE", f"{symbol} raw_bars", lived.lived(SOURCE_DOWN, symbol))


def test_every_failure_is_one_message_and_its_end_another(lived):
    kills = [kill.symbol for kill in KILLS if kill.decision + SETTLED < lived.end]
    assert lived.told["killed"] == len(kills) >= 2
    died = [*kills, *lived.told["cut"]]
    for symbol in SYMBOLS:
        assert_told(lived, "FAILED", f"{symbol} hourly_inference", died.count(symbol))
    assert_told(lived, "FAILED", "macro_series", 1)  # drift was to be measured, six times, while releases were down
    assert len(lived.begun("FAILED ")) == len(died) + 1


def assert_told(lived: Lived, word: str, thing: str, times: int) -> None:
    """So often a trouble of the thing was told, and so often its end."""
    begun = lived.begun(f"{word} {thing}")
    ends = [text for text in lived.begun(f"OVER {thing},") if word.lower() in text.split("\n")[1]]
    ends += [text for text in begun if counted(text)]
    assert (len(begun), len(ends)) == (times, times), (thing, begun, ends)


def test_nothing_is_queued_started_held_or_untold(lived):
    with lived.home.open(lived.house) as instance:
        unfinished = [*UNFINISHED, dg.DagsterRunStatus.QUEUED]
        assert instance.get_runs(dg.RunsFilter(statuses=unfinished)) == []
        events = instance.event_log_storage
        pools = [events.get_concurrency_info(pool) for pool in events.get_concurrency_keys()]
        assert [(pool.claimed_slots, pool.pending_steps) for pool in pools] == [([], [])] * len(pools)
        old = instance.get_runs(dg.RunsFilter(statuses=[SUCCESS], updated_before=lived.end - KEPT[SUCCESS] - timedelta(days=1)))
        assert len(old) < 100, "those that made what is newest are kept, mostly of trainings"
    assert Counter(alert.state for alert in AlertLedger(lived.house.workplace.alerts).alerts()) == {"sent": len(lived.texts)}


def test_signals_of_the_days_with_most_mishaps_are_replayed_byte_for_byte(lived):
    """But for those whose bundle was gone: it is back."""
    for symbol in SYMBOLS:
        table = replay_symbol(lived.house, symbol, START, START + timedelta(days=2))
        other = table.filter(~table["equal"])
        assert set(other["status"]) <= {"failed"}, other.to_dicts()
        assert all("could not be opened then, and can be now" in cause for cause in other["cause"]), other.to_dicts()
