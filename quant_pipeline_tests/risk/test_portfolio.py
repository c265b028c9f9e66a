import math
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from quant_pipeline.config.universe import Costs, RiskProfile, Symbol
from quant_pipeline.errors import DataError
from quant_pipeline.risk.portfolio import PortfolioState, paper_account

START = datetime(2025, 6, 2, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
UTC_US = pl.Datetime("us", "UTC")


def symbol(round_trip_bps: float = 20.0, share: float = 25.0) -> Symbol:
    costs = Costs(fee_bps=round_trip_bps / 2)
    return Symbol(calendar="24/7", costs=costs, risk=RiskProfile(max_leverage=2.0, max_drawdown_pct=15, max_position_pct=share))


def hours(
    opens: list[float], closes: list[float] | None = None, *, start: datetime = START, skip: tuple[int, ...] = ()
) -> pl.DataFrame:
    rows = [
        (start + i * HOUR, o, c, start + (i + 1) * HOUR)
        for i, (o, c) in enumerate(zip(opens, closes or opens, strict=True))
        if i not in skip
    ]
    return pl.DataFrame(
        rows, schema={"timestamp": UTC_US, "open": pl.Float64, "close": pl.Float64, "known_at": UTC_US}, orient="row"
    )


def signals(*rows: tuple[int, int, float], name: str = "X") -> pl.DataFrame:
    """Rows of hour since START, action, size."""
    schema = {"symbol": pl.String, "as_of": UTC_US, "action": pl.Int64, "position_size": pl.Float64}
    return pl.DataFrame([(name, START + hour * HOUR, action, size) for hour, action, size in rows], schema=schema, orient="row")


def account(issued: pl.DataFrame, bars: pl.DataFrame, at: int, *, horizon: int = 100, of: Symbol | None = None) -> PortfolioState:
    return paper_account(issued, {"X": bars}, {"X": of or symbol()}, at=START + at * HOUR, horizon_bars=horizon)


def test_nothing_traded_is_a_new_account():
    assert account(signals(), hours([100.0] * 5), 5) == PortfolioState()
    assert paper_account(signals(), {}, {}, at=START, horizon_bars=5) == PortfolioState()
    assert account(signals((0, 1, 1.0)), hours([]), 5) == PortfolioState()


def test_a_long_position_by_hand():
    # hour 1: a quarter of the equity goes long at the open 100, half of 20 bps is paid on it; price ends at 110
    state = account(signals((1, 1, 2.0)), hours([90.0, 100.0, 105.0], [95.0, 104.0, 110.0]), 3)
    fee = 0.25 * 0.001
    assert state.equity == pytest.approx(1 - fee + 0.25 * 0.10)
    assert state.exposures == {"X": pytest.approx(0.275 / state.equity)}
    assert state.peak == state.equity
    assert state.correlation is None


def test_a_short_position_gains_when_the_price_falls():
    state = account(signals((0, -1, 1.0)), hours([100.0, 90.0], [95.0, 80.0]), 2, of=symbol(0.0))
    assert state.equity == pytest.approx(1 + 0.125 * 0.2)
    assert state.exposures["X"] < 0


def test_a_bar_that_is_not_closed_yet_does_not_exist():
    bars = hours([100.0, 50.0, 200.0])
    assert account(signals((1, 1, 2.0)), bars, 1) == PortfolioState()
    assert account(signals((1, 1, 2.0)), bars.head(2), 2) == account(signals((1, 1, 2.0)), bars, 2)


def test_a_gap_delays_the_fill_to_the_next_bar():
    bars = hours([100.0, 1.0, 1.0, 120.0, 120.0], skip=(1, 2))
    assert account(signals((1, 1, 2.0)), bars, 5, of=symbol(0.0)).equity == 1.0


def test_the_last_of_two_signals_for_one_fill_counts():
    bars = hours([100.0, 1.0, 100.0, 110.0], skip=(1,))
    both = account(signals((1, -1, 2.0), (2, 1, 2.0)), bars, 4)
    assert both == account(signals((2, 1, 2.0)), bars, 4)


def test_an_equal_signal_neither_trades_nor_pays_but_renews_the_horizon():
    bars = hours([100.0, 100.0, 100.0, 110.0, 121.0])
    once, again = signals((0, 1, 2.0)), signals((0, 1, 2.0), (2, 1, 2.0))
    assert account(again, bars, 5) == account(once, bars, 5)
    assert account(once, bars, 5, horizon=3).exposures == {}
    assert account(again, bars, 5, horizon=3).exposures != {}


def test_a_position_ends_at_the_open_after_its_horizon():
    bars = hours([100.0, 100.0, 130.0, 900.0], [100.0, 120.0, 140.0, 900.0])
    state = account(signals((0, 1, 2.0)), bars, 4, horizon=2)
    assert state.equity == pytest.approx(1 + 0.25 * 0.3 - 0.001 * (0.25 + 0.25 * 1.3))
    assert state.exposures == {}


def test_a_signal_before_the_first_bar_is_skipped():
    assert account(signals((-1, 1, 2.0)), hours([100.0, 110.0]), 2) == PortfolioState()


def test_the_share_is_capped():
    wild = account(signals((0, 1, 50.0)), hours([100.0, 100.0]), 2, of=symbol(0.0, share=15))
    assert wild.exposures["X"] == pytest.approx(0.15)


def test_the_day_starts_at_midnight_utc_with_the_equity_of_the_last_close():
    # START is 20:00: bar 3 closes at midnight, bar 4 opens there
    bars = hours([100.0, 100.0, 100.0, 100.0, 100.0, 90.0], [100.0, 100.0, 100.0, 120.0, 90.0, 80.0])
    state = account(signals((0, 1, 2.0)), bars, 6, of=symbol(0.0))
    assert state.day_start_equity == pytest.approx(1.05)
    assert state.peak == pytest.approx(1.05)
    assert state.equity == pytest.approx(0.95)
    assert account(signals((0, 1, 2.0)), bars, 3, of=symbol(0.0)).day_start_equity == 1.0


def wanted_shares(rows: list[dict], bars: list[dict], risk: RiskProfile, horizon: int) -> dict[int, float]:
    """Signed share asked for at the open of each bar that trades."""
    shares, opens = {}, [bar["timestamp"] for bar in bars]
    for row in rows:
        later = [i for i, opened in enumerate(opens) if opened >= row["as_of"]]
        if later and row["as_of"] >= opens[0]:
            shares[later[0]] = row["action"] * min(row["position_size"] / risk.max_leverage, 1) * risk.max_position_pct / 100
    for i in sorted(shares):
        if i + horizon < len(opens) and not any(i < j <= i + horizon for j in shares):
            shares[i + horizon] = 0.0
    return shares


class Ledger:
    """One account, moved by hand."""

    def __init__(self, symbols: dict[str, Symbol]) -> None:
        self.cash, self.symbols = 1.0, symbols
        self.units, self.price, self.share = (dict.fromkeys(symbols, 0.0) for _ in range(3))

    def equity(self) -> float:
        return self.cash + sum(self.units[name] * self.price[name] for name in self.symbols)

    def trade(self, name: str, target: float) -> None:
        if target == self.share[name]:
            return
        price = self.price[name]
        bought = target * self.equity() / price - self.units[name]
        self.cash -= bought * price + abs(bought) * price * self.symbols[name].costs.round_trip / 2
        self.units[name] += bought
        self.share[name] = target


def oracle(
    issued: pl.DataFrame, bars: dict[str, pl.DataFrame], symbols: dict[str, Symbol], at: datetime, horizon: int
) -> PortfolioState:
    """Moment by moment in plain Python: first what closes, then what opens."""
    ledger, peak, day_start, happenings = Ledger(symbols), 1.0, 1.0, []
    for name in sorted(bars):
        known = [row for row in bars[name].iter_rows(named=True) if row["known_at"] <= at]
        rows = issued.filter(symbol=name).sort("as_of", maintain_order=True).rows(named=True)
        shares = wanted_shares(rows, known, symbols[name].risk, horizon)
        for i, row in enumerate(known):
            happenings.append((row["known_at"], 0, name, row["close"], None))
            happenings.append((row["timestamp"], 1, name, row["open"], shares.get(i)))
    for moment, opens, name, price, target in sorted(happenings, key=lambda happening: happening[:3]):
        ledger.price[name] = price
        if target is not None:
            ledger.trade(name, target)
        if not opens:
            peak = max(peak, ledger.equity())
            day_start = ledger.equity() if moment <= at.replace(hour=0, minute=0) else day_start
    total = ledger.equity()
    held = {name: ledger.units[name] * ledger.price[name] / total for name in symbols if ledger.share[name]}
    return PortfolioState(total, peak, day_start, held)


@st.composite
def markets(draw):
    """Two symbols on offset clocks with gaps, and random signals for them."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    bars, issued = {}, []
    for name, shift in (("X", 0), ("Y", draw(st.sampled_from([0, 30])))):
        count = draw(st.integers(0, 40))
        prices = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (count, 2)), axis=0))
        skip = tuple(int(i) for i in np.flatnonzero(rng.random(count) < 0.2))
        bars[name] = hours(prices[:, 0].tolist(), prices[:, 1].tolist(), start=START + timedelta(minutes=shift), skip=skip)
        rows = [
            (int(h), int(rng.integers(-1, 2)), float(rng.integers(0, 4))) for h in rng.integers(-3, 45, draw(st.integers(0, 15)))
        ]
        issued.append(signals(*rows, name=name))
    return pl.concat(issued), bars, {"X": symbol(), "Y": symbol(5.0, share=40.0)}


@settings(max_examples=120, deadline=None)
@given(market=markets(), at=st.integers(-1, 90), horizon=st.integers(1, 8))
def test_the_account_equals_one_kept_by_hand(market, at, horizon):
    issued, bars, symbols = market
    moment = START + at * timedelta(minutes=30)
    found = paper_account(issued, bars, symbols, at=moment, horizon_bars=horizon)
    wanted = oracle(issued, bars, symbols, moment, horizon)
    figures = ("equity", "peak", "day_start_equity")
    assert [getattr(found, name) for name in figures] == pytest.approx([getattr(wanted, name) for name in figures], rel=1e-12)
    assert found.exposures == pytest.approx(wanted.exposures, rel=1e-9)


@settings(max_examples=80, deadline=None)
@given(market=markets(), at=st.integers(0, 90), horizon=st.integers(1, 8))
def test_the_future_never_changes_the_account(market, at, horizon):
    issued, bars, symbols = market
    moment = START + at * timedelta(minutes=30)
    past = {name: frame.filter(pl.col("known_at") <= moment) for name, frame in bars.items()}
    until_now = paper_account(issued.filter(pl.col("as_of") <= moment), past, symbols, at=moment, horizon_bars=horizon)
    assert paper_account(issued, bars, symbols, at=moment, horizon_bars=horizon) == until_now


def two_positions(*, other_side: int = 1, noise: float = 0.01, bars: int = 60, flat: bool = False) -> PortfolioState:
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 0.01, bars)
    one, other = (np.exp(np.cumsum(shared + rng.normal(0, noise, bars))).tolist() for _ in range(2))
    issued = pl.concat([signals((0, 1, 1.0), name="X"), signals((0, other_side, 1.0), name="Y")])
    frames = {"X": hours(one), "Y": hours([1.0] * bars if flat else other)}
    return paper_account(issued, frames, {"X": symbol(), "Y": symbol()}, at=START + 1_000 * HOUR, horizon_bars=1_000)


def test_two_bets_that_win_together_are_correlated_and_a_hedge_is_not():
    assert two_positions(noise=0.0).correlation == pytest.approx(1.0)
    assert two_positions(noise=0.002).correlation > 0.85
    assert two_positions(noise=0.002, other_side=-1).correlation < -0.85
    assert two_positions(noise=0.1).correlation < 0.5


def test_the_closest_pair_of_many_counts():
    rng = np.random.default_rng(5)
    moves = rng.normal(0, 0.01, (60, 3))
    moves[:, 2] = moves[:, 0] + rng.normal(0, 0.001, 60)
    frames = {name: hours(np.exp(np.cumsum(moves[:, i])).tolist()) for i, name in enumerate("XYZ")}
    issued = pl.concat([signals((0, 1, 1.0), name=name) for name in frames])
    state = paper_account(issued, frames, dict.fromkeys(frames, symbol()), at=START + 100 * HOUR, horizon_bars=100)
    assert state.correlation > 0.95


def test_too_few_bars_a_flat_price_or_one_position_have_no_correlation():
    assert two_positions(bars=20).correlation is None
    assert two_positions(flat=True).correlation is None
    assert two_positions(other_side=0).correlation is None


@pytest.mark.parametrize(
    "wrong",
    [{"equity": math.nan}, {"equity": 1.1}, {"day_start_equity": 1.1}, {"correlation": math.inf}, {"exposures": {"X": math.nan}}],
)
def test_an_impossible_state_is_refused(wrong):
    with pytest.raises(DataError, match="portfolio state"):
        PortfolioState(**wrong)


def test_wrong_arguments_are_refused():
    with pytest.raises(DataError, match="also symbol"):
        paper_account(signals().drop("symbol"), {}, {}, at=START, horizon_bars=1)
    with pytest.raises(DataError, match="horizon_bars"):
        paper_account(signals(), {}, {}, at=START, horizon_bars=0)
    with pytest.raises(DataError, match=r"at.*time zone"):
        paper_account(signals(), {"X": hours([1.0])}, {"X": symbol()}, at=datetime(2025, 1, 1), horizon_bars=1)  # noqa: DTZ001 the error under test
