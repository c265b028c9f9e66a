import itertools
import math

import pytest

from quant_pipeline.config.universe import RiskProfile
from quant_pipeline.errors import DataError
from quant_pipeline.risk.breakers import Position, adjust_position, check, limit
from quant_pipeline.risk.portfolio import PortfolioState

GOLD = RiskProfile(max_leverage=3.0, max_drawdown_pct=15, max_position_pct=25)
SPY = RiskProfile(max_leverage=2.0, max_drawdown_pct=10, max_position_pct=30)
CALM = PortfolioState()


def losing_today(equity: float) -> PortfolioState:
    return PortfolioState(equity=equity)


def below_peak(equity: float) -> PortfolioState:
    return PortfolioState(equity=equity, day_start_equity=equity)


def correlated(value: float | None) -> PortfolioState:
    return PortfolioState(correlation=value)


def test_a_calm_portfolio_triggers_nothing():
    assert check(CALM, GOLD) == ()
    assert limit(-1, 2.5, CALM, GOLD) == Position(-1, 2.5, ())


@pytest.mark.parametrize("capital", [1.0, 100_000.0, 0.1])
def test_each_limit_may_be_reached_and_not_exceeded(capital):
    def at(share: float, day: float = 1.0) -> PortfolioState:
        return PortfolioState(equity=capital * share, peak=capital, day_start_equity=capital * day)

    assert check(at(1 - 0.03), GOLD) == ()
    assert check(at(0.9699), GOLD) == ("daily_loss",)
    assert check(at(1 - 0.15, day=0.86), GOLD) == ()
    assert check(at(0.8499, day=0.86), GOLD) == ("drawdown",)
    assert check(at(1 - 0.10, day=0.91), SPY) == ()
    assert check(at(0.8999, day=0.91), SPY) == ("drawdown",)
    assert check(correlated(0.9), GOLD) == ()
    assert check(correlated(math.nextafter(0.9, 1)), GOLD) == ("correlation",)


def test_a_daily_loss_flattens():
    assert limit(1, 3.0, losing_today(0.96), GOLD) == Position(0, 0.0, ("daily_loss",))


def test_a_drawdown_leaves_one_unit():
    assert limit(1, 3.0, below_peak(0.8), GOLD) == Position(1, 1.0, ("drawdown",))
    assert limit(1, 0.4, below_peak(0.8), GOLD).size == 0.4


def test_correlated_bets_are_halved():
    assert limit(-1, 3.0, correlated(0.95), GOLD) == Position(-1, 1.5, ("correlation",))
    assert limit(-1, 3.0, correlated(-0.95), GOLD).size == 3.0
    assert limit(-1, 3.0, correlated(None), GOLD).size == 3.0


def test_breakers_add_up_in_the_order_of_the_document():
    worst = PortfolioState(equity=0.8, correlation=0.95)
    assert limit(1, 3.0, worst, GOLD) == Position(0, 0.0, ("daily_loss", "drawdown", "correlation"))
    deep = PortfolioState(equity=0.8, day_start_equity=0.8, correlation=0.95)
    assert limit(1, 3.0, deep, GOLD) == Position(1, 0.5, ("drawdown", "correlation"))


def test_no_breaker_ever_turns_or_enlarges_a_position():
    levels = (1.0, 0.95, 0.8)
    for equity, day, correlation, action, size in itertools.product(levels, levels, (None, 0.99), (-1, 0, 1), (0.0, 0.7, 3.0)):
        position = limit(
            action, size, PortfolioState(equity=equity, day_start_equity=max(day, equity), correlation=correlation), GOLD
        )
        assert position.size <= size
        assert position.action in {0, action}
        assert (position.action == 0) == (position.size == 0)


def test_a_decision_is_sized_and_then_limited():
    assert adjust_position(1, 0.775, CALM, GOLD).size == pytest.approx(2.0)
    assert adjust_position(1, 0.775, CALM, SPY).size == pytest.approx(1.5)
    assert adjust_position(1, 0.775, below_peak(0.8), GOLD) == Position(1, 1.0, ("drawdown",))
    assert adjust_position(1, 0.5, CALM, GOLD) == Position(0, 0.0, ())
    assert adjust_position(-1, 0.6, CALM, GOLD, min_confidence=0.7) == Position(0, 0.0, ())
    assert adjust_position(0, 0.99, CALM, GOLD) == Position(0, 0.0, ())


@pytest.mark.parametrize(("action", "size"), [(2, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_an_impossible_decision_is_refused(action, size):
    with pytest.raises(DataError, match="position"):
        limit(action, size, CALM, GOLD)
