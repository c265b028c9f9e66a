"""The engine against hand-computed cases, a slow oracle, and shuffled futures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.backtest.engine import buy_and_hold, most_probable, run_backtest
from quant_pipeline.config.universe import Costs
from quant_pipeline.errors import DataError

START = datetime(2024, 1, 1, tzinfo=UTC)
COSTS = Costs(fee_bps=10)  # a round trip costs 0.002, a side 0.001
FREE = Costs(fee_bps=0)
UTC_US = pl.Datetime("us", "UTC")


def hour(n: float) -> datetime:
    return START + timedelta(hours=n)


def make_bars(opens: list[float], closes: list[float] | None = None, spread: float = 0.0) -> pl.DataFrame:
    closes = closes if closes is not None else [*opens[1:], opens[-1]]
    top, bottom = np.maximum(opens, closes) + spread, np.minimum(opens, closes) - spread
    return pl.DataFrame(
        {
            "timestamp": [hour(k) for k in range(len(opens))], "known_at": [hour(k + 1) for k in range(len(opens))],
            "open": opens, "high": top, "low": bottom, "close": closes,
        },
        schema_overrides={"timestamp": UTC_US, "known_at": UTC_US, "open": pl.Float64, "close": pl.Float64},
    )  # fmt: skip


def make_decisions(*rows: tuple[float, int, float], **columns: object) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["hour", "action", "size"], orient="row")
    at = pl.Series("decision_at", [hour(h) for h in frame["hour"]], dtype=UTC_US)
    return frame.select(at, "action", "size").with_columns(**{k: pl.lit(v) for k, v in columns.items()})


def random_walk(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.standard_normal(rows) * 0.01))
    opens = np.append(100.0, close[:-1]) * np.exp(rng.standard_normal(rows) * 0.002)
    return make_bars(opens.tolist(), close.tolist(), spread=0.3)


def random_decisions(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    keep = np.flatnonzero(rng.random(rows) < 0.5)
    picks = [(float(k + 1), int(rng.integers(-1, 2)), float(rng.choice([0.25, 0.5, 1.0]))) for k in keep]
    return make_decisions(*picks, take_profit=0.012, stop_loss=0.009).with_columns(
        horizon_end=pl.col("decision_at").dt.offset_by("5h")
    )


def test_long_trade_by_hand() -> None:
    bars = make_bars([100.0, 110.0, 121.0, 121.0])
    trades, equity = run_backtest(make_decisions((1, 1, 1.0), (2, 0, 0.0)), bars, COSTS)
    assert trades.select("entry_at", "exit_at", "side", "entry_price", "exit_price", "reason").row(0) == (
        hour(1), hour(2), 1, 110.0, 121.0, "decision",
    )  # fmt: skip
    row = trades.row(0, named=True)
    assert row["gross_return"] == pytest.approx(0.1)
    assert row["cost"] == pytest.approx(0.001 + 0.0011)
    assert row["net_return"] == pytest.approx(0.1 - 0.0021)
    assert equity["net"].to_list() == pytest.approx([1.0, 1 + 0.1 - 0.001, 1 + 0.1 - 0.0021, 1 + 0.1 - 0.0021])
    assert equity["gross"].to_list() == pytest.approx([1.0, 1.1, 1.1, 1.1])
    assert equity["turnover"].to_list() == pytest.approx([0, 1, 1 + 1.1 / 1.099, 1 + 1.1 / 1.099])


def test_short_trade_and_reversal_by_hand() -> None:
    bars = make_bars([100.0, 100.0, 90.0, 99.0, 99.0])
    trades, equity = run_backtest(make_decisions((1, -1, 0.5), (2, 1, 1.0)), bars, COSTS)
    assert trades["side"].to_list() == [-1, 1]
    assert trades["gross_return"].to_list() == pytest.approx([0.1, 0.1])
    after_short = 1 + 0.5 * 0.1 - 0.001 * (0.5 + 0.45)
    units = after_short / 90
    assert equity["net"][-1] == pytest.approx(after_short + units * 9 - 0.001 * units * (90 + 99))
    assert equity["costs"][-1] == pytest.approx(0.001 * (0.5 + 0.45 + units * (90 + 99)))
    assert equity["drawdown"][1] == pytest.approx(0)


def test_unchanged_decision_trades_nothing_and_a_new_size_only_the_difference() -> None:
    bars = make_bars([100.0, 100.0, 110.0, 110.0, 110.0])
    trades, equity = run_backtest(make_decisions((1, 1, 0.5), (2, 1, 0.5), (3, 1, 1.0)), bars, FREE)
    assert trades.height == 1
    assert equity["turnover"].to_list() == pytest.approx([0, 0.5, 0.5, 0.5 + (1.05 - 0.55) / 1.05, 1.5 + (1.05 - 0.55) / 1.05])
    assert trades["gross_return"][0] == pytest.approx(0.05 / (0.5 + 0.5))


def test_decision_is_filled_at_the_next_open_after_a_gap_and_the_last_of_several_counts() -> None:
    bars = make_bars([100.0, 101.0, 102.0, 103.0]).with_row_index().filter(pl.col("index") != 2).drop("index")
    trades, _ = run_backtest(make_decisions((1.5, -1, 1.0), (1.75, 1, 1.0)), bars, FREE)
    assert trades.select("entry_at", "side", "entry_price").rows() == [(hour(3), 1, 103.0)]


def test_decision_after_the_last_open_is_never_filled() -> None:
    trades, equity = run_backtest(make_decisions((3.5, 1, 1.0)), make_bars([100.0] * 4), COSTS)
    assert trades.is_empty()
    assert equity["net"].to_list() == [1.0] * 4


@pytest.mark.parametrize("since", [None, hour(2)])
def test_buy_and_hold_is_the_price_ratio_less_one_round_trip(since: datetime | None) -> None:
    bars = random_walk(50, 1)
    first = bars["open"][0 if since is None else 2]
    ratio = bars["close"][-1] / first
    trades, equity = buy_and_hold(bars, COSTS, since=since)
    assert equity["net"][-1] == pytest.approx(ratio - COSTS.round_trip / 2 * (1 + ratio), rel=1e-12)
    assert equity["gross"][-1] == pytest.approx(ratio, rel=1e-12)
    assert trades.height == 1


def test_open_trade_may_be_left_open() -> None:
    bars = make_bars([100.0, 100.0, 110.0])
    trades, equity = run_backtest(make_decisions((1, 1, 1.0)), bars, COSTS, close_at_end=False)
    assert trades.is_empty()
    assert equity["net"][-1] == pytest.approx(1.1 - 0.001)
    assert equity["exposure"][-1] == pytest.approx(1.1 / 1.099)


@pytest.mark.parametrize(
    ("highs", "lows", "opens", "reason", "price", "left"),
    [
        ([101, 103], [99.5, 100], [100, 101], "take_profit", 102.0, 2),
        ([101, 101], [99.5, 98], [100, 100], "stop_loss", 99.0, 2),
        ([103, 101], [98, 100], [100, 100], "stop_loss", 99.0, 1),  # both inside one bar: the stop came first
        ([101, 98], [99.5, 97], [100, 97.5], "stop_loss", 97.5, 1),  # the next open lies beyond the stop
        ([101, 104], [99.5, 103], [100, 103.5], "take_profit", 103.5, 1),
        ([101, 101], [99.5, 99.5], [100, 100.5], "horizon", 100.5, 2),
    ],
)
def test_barrier_exits_of_a_long(*, highs, lows, opens, reason, price, left) -> None:
    bars = pl.DataFrame(
        {
            "timestamp": [hour(k) for k in range(3)], "known_at": [hour(k + 1) for k in range(3)],
            "open": [*opens, 100.5], "high": [*highs, 101.0], "low": [*lows, 100.0], "close": [100.5] * 3,
        },
        schema_overrides={"timestamp": UTC_US, "known_at": UTC_US} | dict.fromkeys(("open", "high", "low"), pl.Float64),
    )  # fmt: skip
    if reason == "horizon":
        price = 100.5
    decisions = make_decisions((0, 1, 1.0), take_profit=0.02, stop_loss=0.01, horizon_end=hour(2))
    trades, _ = run_backtest(decisions, bars, FREE, exits="barrier")
    assert trades.select("reason", "exit_price", "exit_at").row(0) == (reason, pytest.approx(price), hour(left))


def test_barriers_of_a_short_are_mirrored_and_the_opposite_side_reverses() -> None:
    bars = make_bars([100.0, 99.0, 97.9, 97.9], spread=0.05)
    decisions = make_decisions((0, -1, 1.0), (1, -1, 0.3), take_profit=0.02, stop_loss=0.01, horizon_end=hour(9))
    trades, _ = run_backtest(decisions, bars, FREE, exits="barrier")
    assert trades.select("side", "size", "exit_price", "reason").rows() == [(-1, 1.0, pytest.approx(98.0), "take_profit")]
    reversed_ = decisions.with_columns(action=pl.Series([-1, 1]))
    trades, _ = run_backtest(reversed_, bars, FREE, exits="barrier")
    assert trades.select("side", "entry_price", "exit_price", "reason").rows() == [
        (-1, 100.0, 99.0, "decision"), (1, 99.0, pytest.approx(98.01), "stop_loss"),
    ]  # fmt: skip


def test_finer_path_resolves_which_barrier_came_first() -> None:
    hours = make_bars([100.0, 100.0], [100.0, 100.0], spread=3.0)
    minutes = make_bars([100.0, 103.0, 97.0, 100.0], [103.0, 97.0, 100.0, 100.0])
    half = pl.Series([START + timedelta(minutes=30 * k) for k in range(5)], dtype=UTC_US)
    minutes = minutes.with_columns(timestamp=half[:4], known_at=half[1:])
    decisions = make_decisions((0, 1, 1.0), take_profit=0.02, stop_loss=0.02, horizon_end=hour(9))
    assert run_backtest(decisions, hours, FREE, exits="barrier").trades["reason"][0] == "stop_loss"
    trades, equity = run_backtest(decisions, hours, FREE, exits="barrier", path=minutes)
    assert trades["reason"][0] == "take_profit"
    assert equity["known_at"].to_list() == [hour(1), hour(2)]
    assert equity["net"].to_list() == pytest.approx([1.02, 1.02])


def test_ruin_ends_everything() -> None:
    bars = make_bars([100.0, 100.0, 250.0, 100.0, 100.0])
    trades, equity = run_backtest(make_decisions((1, -1, 1.0), (3, 1, 1.0)), bars, FREE)
    assert trades["reason"].to_list() == ["ruin"]
    assert equity["net"].to_list() == pytest.approx([1.0, -0.5, -0.5, -0.5, -0.5])


def slow_equity(decisions: pl.DataFrame, bars: pl.DataFrame, side_cost: float) -> list[float]:
    """The rules of `next_decision`, in plain Python."""
    cash, units, target, curve = 1.0, 0.0, 0.0, []
    waiting = list(decisions.select("decision_at", "action", "size").iter_rows())
    for bar in bars.iter_rows(named=True):
        want = None
        while waiting and waiting[0][0] <= bar["timestamp"]:
            _, action, size = waiting.pop(0)
            want = action * size
        if want is not None and want != target:
            price = bar["open"]
            if want * units <= 0 and units != 0:
                cash, units = cash + units * price - abs(units) * price * side_cost, 0.0
            change = want * (cash + units * price) / price - units if want else -units
            cash, units, target = cash - change * price - abs(change) * price * side_cost, units + change, want
        curve.append(cash + units * bar["close"])
    cash -= abs(units) * bar["close"] * side_cost
    return [*curve[:-1], cash + units * bar["close"]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 60))
def test_equity_equals_a_slow_walk_and_every_cost_is_counted_once(seed: int, rows: int) -> None:
    bars, decisions = random_walk(rows, seed), random_decisions(rows, seed)
    trades, equity = run_backtest(decisions, bars, COSTS)
    assert equity["net"].to_list() == pytest.approx(slow_equity(decisions, bars, 0.001), rel=1e-10)
    assert trades["profit"].sum() == pytest.approx(equity["net"][-1] - 1, abs=1e-12)
    assert (equity["gross"] - equity["net"]).to_list() == pytest.approx(equity["costs"].to_list(), abs=1e-12)
    assert (trades["gross_return"] - trades["cost"]).to_list() == pytest.approx(trades["net_return"].to_list(), abs=1e-12)


@pytest.mark.parametrize("exits", ["next_decision", "barrier"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 58))
def test_the_future_does_not_change_the_past(exits: str, seed: int, cut: int) -> None:
    bars, decisions = random_walk(60, seed), random_decisions(60, seed)
    now = bars["known_at"][cut - 1]
    prices = bars.select("open", "high", "low", "close")
    other = bars.with_columns(pl.concat([prices[:cut], prices[cut:].sample(fraction=1.0, shuffle=True, seed=seed)]))
    later = decisions.with_columns(action=pl.when(pl.col("decision_at") >= now).then(-pl.col("action")).otherwise("action"))
    mine = run_backtest(decisions, bars, COSTS, exits=exits)
    theirs = run_backtest(later, other, COSTS, exits=exits)
    assert mine.equity[:cut].equals(theirs.equity[:cut])
    done = pl.col("exit_at") < now
    assert mine.trades.filter(done).equals(theirs.trades.filter(done))


def test_most_probable_class_decides() -> None:
    at = pl.Series("decision_at", [hour(2), hour(1), hour(2)], dtype=UTC_US)
    predictions = pl.DataFrame(
        {"decision_at": at, "p_short": [0.6, 0.2, 0.1], "p_neutral": [0.2, 0.5, 0.2], "p_long": [0.2, 0.3, 0.7]}
    )
    assert most_probable(predictions).rows() == [(hour(1), 0, 1.0), (hour(2), 1, 1.0)]


@pytest.mark.parametrize(
    ("decisions", "words"),
    [
        (make_decisions((2, 1, 1.0), (1, 0, 1.0)), "sorted"),
        (make_decisions((1, 2, 1.0)), "action"),
        (make_decisions((1, 1, -1.0)), "size"),
        (make_decisions((1, 1, float("nan"))), "size"),
        (make_decisions((1, 1, 1.0)).drop("size"), "size"),
    ],
)
def test_impossible_decisions_are_refused(decisions: pl.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run_backtest(decisions, make_bars([100.0] * 4), COSTS)


def test_impossible_bars_are_refused() -> None:
    with pytest.raises(DataError, match="do not increase"):
        run_backtest(make_decisions((1, 1, 1.0)), make_bars([100.0] * 4)[::-1], COSTS)
    with pytest.raises(DataError, match="take_profit"):
        run_backtest(make_decisions((1, 1, 1.0)), make_bars([100.0] * 4), COSTS, exits="barrier")
