"""Figures of equity curves against their formulas in plain numpy and pandas-free hand cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.backtest.engine import Backtest
from quant_pipeline.backtest.statistics import bars_per_year, statistics

START = datetime(2023, 1, 2, tzinfo=UTC)


def curve(net: np.ndarray, *, per_day: int = 24, days: tuple[int, ...] = range(7)) -> Backtest:
    opens = [
        START + timedelta(days=d, hours=h)
        for d in range(10_000) if (START + timedelta(days=d)).weekday() in days for h in range(per_day)
    ][: len(net)]  # fmt: skip
    peak = np.maximum.accumulate(np.append(1.0, net))[1:]
    equity = pl.DataFrame({
        "timestamp": opens, "known_at": [at + timedelta(hours=1) for at in opens], "close": net, "net": net,
        "exposure": np.where(np.arange(len(net)) % 4 == 0, 0.0, 1.0), "costs": np.linspace(0, 0.01, len(net)),
        "turnover": np.linspace(0, 6.0, len(net)), "drawdown": net / peak - 1,
    })  # fmt: skip
    return Backtest(pl.DataFrame({"net_return": [0.1, -0.1, 0.2, 0.0]}), equity)


def test_figures_are_their_formulas() -> None:
    returns = np.random.default_rng(0).standard_normal(24 * 365) * 0.002 + 2e-5
    net = np.cumprod(1 + returns)
    found = statistics(curve(net))
    years = 365 / 365.2425
    assert found.years == pytest.approx(years)
    assert found.total_return.value == pytest.approx(net[-1] - 1)
    assert found.cagr == pytest.approx(net[-1] ** (1 / years) - 1)
    assert found.sharpe.value == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(24 * 365.2425))
    assert found.sortino == pytest.approx(returns.mean() / np.sqrt((np.minimum(returns, 0) ** 2).mean()) * np.sqrt(24 * 365.2425))
    assert found.volatility == pytest.approx(returns.std(ddof=1) * np.sqrt(24 * 365.2425))
    assert found.max_drawdown == pytest.approx(min(net[k] / max(1.0, net[: k + 1].max()) - 1 for k in range(len(net))))
    assert (found.trades, found.hit_rate, found.exposure, found.costs) == (4, 0.5, 0.75, pytest.approx(0.01))
    assert found.turnover_per_year == pytest.approx(6 / years)


def test_sharpe_interval_is_about_lo_s_standard_error() -> None:
    returns = np.random.default_rng(1).standard_normal(24 * 365) * 0.002
    sharpe = statistics(curve(np.cumprod(1 + returns))).sharpe
    assert sharpe.low < sharpe.value < sharpe.high
    assert sharpe.error == pytest.approx(1.0, rel=0.15)  # Lo (2002): sqrt(bars per year / bars), one year here


@pytest.mark.parametrize(("per_day", "days", "wanted"), [(24, range(7), 8_766), (23, range(5), 5_999), (7, range(5), 1_826)])
def test_bars_per_year_are_those_the_market_had(per_day: int, days, wanted: int) -> None:
    equity = curve(np.ones(per_day * len(days) * 52), per_day=per_day, days=tuple(days)).equity
    assert bars_per_year(equity) == pytest.approx(wanted, rel=0.01)


def test_flat_and_ruined_curves_have_no_invented_figures() -> None:
    flat = statistics(curve(np.ones(200)))
    assert np.isnan([flat.sharpe.value, flat.sortino]).all()
    assert (flat.total_return.value, flat.total_return.low, flat.total_return.high) == (0, 0, 0)
    ruined = statistics(curve(np.array([1.0, 0.5, -0.2, -0.2, -0.2])))
    assert ruined.cagr == -1.0
    assert ruined.total_return.value == pytest.approx(-1.2)
    assert np.isnan(ruined.total_return.low)


def test_total_return_interval_is_about_that_of_a_random_walk() -> None:
    returns = np.random.default_rng(1).standard_normal(24 * 365) * 0.002
    found = statistics(curve(np.cumprod(1 + returns))).total_return
    assert found.low < found.value < found.high
    wide = 2 * 1.96 * returns.std() * np.sqrt(len(returns))  # of the sum of log-returns
    assert np.log1p(found.high) - np.log1p(found.low) == pytest.approx(wide, rel=0.15)
