"""The paper account: the same opened for one moment or for a span, and deaf to what comes later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quant_pipeline.inference import account
from quant_pipeline.inference.account import MEMORY, Account
from quant_pipeline.inference.signals import Signal
from quant_pipeline.risk.portfolio import PortfolioState

AT = datetime(2024, 2, 20, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)


def emit(desk, symbol, at, action):
    desk.signals.write(
        Signal(
            symbol=symbol, as_of=at, decision_at=at, status="ok", action=action, position_size=2.0 * abs(action), reason="test",
            experiment="small", profile="simulated", simulated=True,
        )
    )  # fmt: skip


@pytest.fixture
def traded(desk):
    for hours in range(0, 60, 3):
        emit(desk, "BTC-USD", AT + hours * HOUR, (1, -1, 0)[hours % 9 // 3])
        emit(desk, "ETH-USD", AT + hours * HOUR, 1)
    return desk


def test_without_signals_it_is_new(desk):
    assert Account(desk, AT, AT).at(AT) == PortfolioState()


def test_one_moment_and_a_span_agree(traded):
    moments = [AT + hours * HOUR for hours in (0, 1, 5, 20, 33, 59)]
    span = Account(traded, moments[0], moments[-1])
    alone = [Account(traded, at, at).at(at) for at in moments]
    assert [span.at(at) for at in moments] == alone
    assert len({state.equity for state in alone}) == 6
    assert set(alone[-1].exposures) <= {"BTC-USD", "ETH-USD"}


def test_signals_of_the_moment_and_later_do_not_count(traded):
    before = Account(traded, AT + 9 * HOUR, AT + 9 * HOUR).at(AT + 9 * HOUR)
    late = Account(traded, AT, AT + 60 * HOUR)
    for hours in range(9, 60):
        emit(traded, "BTC-USD", AT + hours * HOUR + timedelta(minutes=1), -1)
    assert late.at(AT + 9 * HOUR) == before
    assert Account(traded, AT + 9 * HOUR, AT + 9 * HOUR).at(AT + 9 * HOUR) == before


def test_the_memory_begins_at_a_midnight_whoever_opened_the_account(traded, monkeypatch):
    monkeypatch.setattr(account, "MEMORY", timedelta(days=1))
    moments = [AT + hours * HOUR for hours in (20, 34, 45, 59)]
    span = Account(traded, AT, moments[-1])
    short = [span.at(at) for at in moments]
    assert short == [Account(traded, at, at).at(at) for at in moments]
    monkeypatch.setattr(account, "MEMORY", timedelta(days=2))
    longer = [Account(traded, at, at).at(at).equity for at in moments]
    assert longer != [state.equity for state in short]


def test_it_forgets_after_its_memory(traded):
    later = AT + MEMORY + timedelta(days=3)
    assert Account(traded, later, later).at(later) == PortfolioState()
