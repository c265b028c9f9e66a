from __future__ import annotations

from datetime import timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from quant_pipeline.config.experiment import LabelSettings
from quant_pipeline.config.universe import Costs
from quant_pipeline.errors import DataError
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.validation.audit import prefix_audit, random_cuts

FREE = Costs(fee_bps=0)
UTC_TIME = pl.Datetime("us", "UTC")
COLUMNS = {
    "timestamp": UTC_TIME, "decision_at": UTC_TIME, "entry_at": UTC_TIME, "entry_price": pl.Float64, "label": pl.Int8,
    "touched": pl.String, "label_end": UTC_TIME, "long_return": pl.Float64, "short_return": pl.Float64,
    "forward_return": pl.Float64, "cost": pl.Float64, "atr": pl.Float64, "horizon_end": UTC_TIME,
    "take_profit": pl.Float64, "stop_loss": pl.Float64,
}  # fmt: skip


def slow_trade(window, up, down, direction, vertical):
    """One trade bar by bar: (+1 took profit, -1 stopped, 0 vertical), exit price, time known."""
    take, stop = (up, down) if direction > 0 else (down, up)
    beyond = {True: lambda value, barrier: value >= barrier, False: lambda value, barrier: value <= barrier}
    for bar in window:
        if beyond[direction > 0](bar["open"], take):
            return 1, bar["open"], bar["known_at"]
        if beyond[direction < 0](bar["open"], stop):
            return -1, bar["open"], bar["known_at"]
        if beyond[direction < 0](bar["low"] if direction > 0 else bar["high"], stop):
            return -1, stop, bar["known_at"]
        if beyond[direction > 0](bar["high"] if direction > 0 else bar["low"], take):
            return 1, take, bar["known_at"]
    return 0, window[-1]["close"], vertical


def slow_label(primary, path, i, rules, cost):
    """The label of primary bar `i` as `label_bars` describes it, or the reason why it has none."""
    bars = primary.to_dicts()
    if i < rules.atr_period:
        return "warm_up"
    ranges = [
        max(bars[j]["high"], bars[j - 1]["close"]) - min(bars[j]["low"], bars[j - 1]["close"])
        for j in range(i - rules.atr_period + 1, i + 1)
    ]
    atr = sum(ranges) / rules.atr_period
    if atr == 0:
        return "no_range"
    if i + rules.max_bars >= len(bars):
        return "window_open"
    decision, vertical = bars[i]["known_at"], bars[i + rules.max_bars]["known_at"]
    window = [bar for bar in path.to_dicts() if bar["timestamp"] >= decision and bar["known_at"] <= vertical]
    price = window[0]["open"]
    take, stop = rules.tp_atr * atr + cost * price, rules.sl_atr * atr - cost * price
    long, long_exit, long_end = slow_trade(window, price + take, price - stop, 1, vertical)
    short, short_exit, short_end = slow_trade(window, price + stop, price - take, -1, vertical)
    label, end = long, long_end
    if rules.side == "two_sided":
        end = max(long_end, short_end)
        label = (long == 1) - (short == 1)
        if long == 1 and short == 1:
            label = 0 if long_end == short_end else 1 if long_end < short_end else -1
    return {
        "decision_at": decision, "entry_at": window[0]["timestamp"], "entry_price": price, "label": label, "label_end": end,
        "touched": {1: "upper", -1: "lower", 0: "vertical"}[label], "horizon_end": vertical,
        "long_return": long_exit / price - 1 - cost, "short_return": 1 - short_exit / price - cost,
        "forward_return": window[-1]["close"] / price - 1, "atr": atr, "cost": cost,
        "take_profit": take / price, "stop_loss": stop / price,
    }  # fmt: skip


rules_of_any_kind = st.builds(
    LabelSettings,
    tp_atr=st.sampled_from([0.3, 0.5, 1.0, 2.0, 4.0]),
    sl_atr=st.sampled_from([0.3, 0.5, 1.0, 1.5, 4.0]),
    max_bars=st.integers(1, 6),
    atr_period=st.integers(1, 6),
    side=st.sampled_from(["long", "two_sided"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), minutes=st.integers(1, 12), rules=rules_of_any_kind, fee=st.sampled_from([0, 5, 40]))
def test_labels_equal_the_slow_oracle(market, seed, minutes, rules, fee):
    path = market.random(seed, 150)
    primary = market.wider(path, minutes)
    labels, ledger = label_bars(primary, path, rules, Costs(fee_bps=fee))
    wanted = [slow_label(primary, path, i, rules, 2 * fee / 10_000) for i in range(primary.height)]
    kept = [row for row in wanted if isinstance(row, dict)]
    assert labels.height == len(kept) == ledger.rows_out
    assert ledger.dropped == {
        reason: wanted.count(reason) for reason in set(map(str, wanted)) & {"warm_up", "no_range", "window_open"}
    }
    for column in COLUMNS.keys() - {"timestamp"}:
        found, right = labels[column].to_list(), [row[column] for row in kept]
        assert found == (pytest.approx(right, abs=1e-12) if COLUMNS[column] == pl.Float64 else right), column


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), minutes=st.integers(1, 10), rules=rules_of_any_kind)
def test_labels_at_a_cut_equal_those_of_the_full_history(market, seed, minutes, rules):
    path = market.random(seed, 200)
    primary = market.wider(path, minutes)

    def compute(cut):
        known = pl.col("known_at") <= cut
        return label_bars(primary.filter(known), path.filter(known), rules, Costs(fee_bps=2))[0]

    cuts = random_cuts(path["known_at"].slice(20), 5, seed=seed)
    full, _ = label_bars(primary, path, rules, Costs(fee_bps=2))
    assert prefix_audit(compute, full, cuts, at="horizon_end").to_dicts() == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), rules=rules_of_any_kind)
def test_times_of_a_label_are_in_order(market, seed, rules):
    path = market.random(seed, 200, missing=0.4)
    labels, _ = label_bars(market.wider(path, 5), path, rules, FREE)
    ordered = (
        (pl.col("timestamp") < pl.col("decision_at"))
        & (pl.col("decision_at") <= pl.col("entry_at"))
        & (pl.col("entry_at") < pl.col("label_end"))
        & (pl.col("label_end") <= pl.col("horizon_end"))
    )
    assert labels.select(ordered.all()).item()


def one_sample(market, after, *, cost=FREE, side="long"):
    """Label of the sample decided after three calm minutes of true range 2 at price 100, then living through `after`."""
    calm = [(100, 101, 99, 100)] * 3
    bars = np.array(calm + after, dtype=float)
    path = market.path(np.arange(len(bars)), *bars.T)
    chosen = LabelSettings(tp_atr=2, sl_atr=1, atr_period=2, max_bars=len(after), side=side)
    labels, ledger = label_bars(path, path, chosen, cost)
    assert labels.height == 1
    return labels.row(0, named=True), ledger


STILL = (100, 101, 99.5, 100)


def test_after_a_gap_the_entry_is_the_next_open(market):
    path = market.path([0, 1, 2, 600, 601], *np.array([(100, 101, 99, 100)] * 3 + [(103, 104, 102, 103)] * 2, dtype=float).T)
    labels, _ = label_bars(path, path, LabelSettings(atr_period=2, max_bars=2), FREE)
    assert labels["entry_at"][0] == market.start + timedelta(minutes=600)
    assert labels["entry_price"][0] == 103


def test_the_take_profit_is_net_of_cost(market):
    cost = Costs(fee_bps=50)  # 1 % of 100 = 1: the take-profit lies at 100 + 2 * 2 + 1
    short_of_it, _ = one_sample(market, [(100, 104.9, 99.5, 104), STILL], cost=cost)
    reached, _ = one_sample(market, [(100, 105, 99.5, 104), STILL], cost=cost)
    assert (short_of_it["label"], short_of_it["touched"]) == (0, "vertical")
    assert (reached["label"], reached["touched"]) == (1, "upper")
    assert reached["long_return"] == pytest.approx(2 * 2 / 100)  # tp_atr * ATR / entry, after costs
    assert reached["take_profit"] == pytest.approx(0.05)


def test_the_stop_is_net_of_cost(market):
    cost = Costs(fee_bps=50)  # the stop lies at 100 - (1 * 2 - 1)
    short_of_it, _ = one_sample(market, [(100, 101, 99.1, 100), STILL], cost=cost)
    reached, _ = one_sample(market, [(100, 101, 99, 100), STILL], cost=cost)
    assert short_of_it["label"] == 0
    assert (reached["label"], reached["touched"]) == (-1, "lower")
    assert reached["long_return"] == pytest.approx(-1 * 2 / 100)
    assert reached["stop_loss"] == pytest.approx(0.01)


def test_a_stop_inside_the_cost_ends_the_trade_at_its_entry(market):
    row, ledger = one_sample(market, [(100, 110, 100, 110), STILL], cost=Costs(fee_bps=150))
    assert row["label"] == -1
    assert row["long_return"] == pytest.approx(-0.03)
    assert row["label_end"] == row["entry_at"] + timedelta(minutes=1)
    assert ledger.notes["stop_inside_cost"] == 1


def test_two_sided_labels_end_when_both_trades_are_known(market):
    after = [(100, 100, 97, 97), STILL, (100, 105, 100, 105), STILL]
    row, _ = one_sample(market, after, side="two_sided")
    assert row["label"] == 0  # the long was stopped at 98 in the first minute, the short at 102 in the third
    assert row["touched"] == "vertical"
    assert row["label_end"] == row["entry_at"] + timedelta(minutes=3)
    assert row["long_return"] == row["short_return"] == pytest.approx(-0.02)


def test_a_barrier_touched_early_does_not_keep_a_row_whose_window_is_open(market):
    path = market.random(3, 60, missing=0)
    labels, ledger = label_bars(path, path, LabelSettings(tp_atr=0.1, sl_atr=0.1, atr_period=2, max_bars=20), FREE)
    assert ledger.dropped["window_open"] == 20
    assert labels["horizon_end"].max() == path["known_at"][-1]


def test_primary_bars_without_a_path_are_dropped(market):
    whole = market.random(1, 100, missing=0)
    primary = market.wider(whole, 5)  # native bars that reach further back than the minutes
    labels, ledger = label_bars(primary, whole.slice(50), LabelSettings(atr_period=2, max_bars=3), FREE)
    assert ledger.dropped == {"warm_up": 2, "no_path": 7, "window_open": 3}
    assert labels["decision_at"].min() == whole["timestamp"][50]


def test_a_path_that_ends_early_leaves_windows_open(market):
    whole = market.random(1, 100, missing=0)
    primary = market.wider(whole, 5)
    labels, ledger = label_bars(primary, whole.head(60), LabelSettings(atr_period=2, max_bars=3), FREE)
    assert labels["horizon_end"].max() == whole["known_at"][59]
    assert ledger.dropped == {"warm_up": 2, "window_open": 8 + 3}


def test_flat_bars_have_no_range(market):
    flat = market.path(np.arange(20), *np.full((4, 20), 100.0))
    labels, ledger = label_bars(flat, flat, LabelSettings(atr_period=2, max_bars=3), FREE)
    assert labels.is_empty()
    assert ledger.dropped == {"warm_up": 2, "no_range": 18}


def test_the_table_has_the_columns_of_the_contract(market):
    path = market.random(1, 100)
    labels, ledger = label_bars(market.wider(path, 5), path, LabelSettings(atr_period=2), Costs(fee_bps=3))
    assert dict(labels.schema) == COLUMNS
    assert sum(ledger.notes["labels"].values()) == labels.height
    assert labels["cost"].unique().to_list() == [6 / 10_000]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda bars: bars.head(0), "no rows"),
        (lambda bars: bars.reverse(), "do not increase"),
        (lambda bars: pl.concat([bars.head(1), bars]), "do not increase"),
        (lambda bars: bars.drop("known_at"), "known_at"),
        (lambda bars: bars.with_columns(pl.col("known_at").dt.replace_time_zone(None)), "Datetime"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_bad_bars_are_refused(market, spoil, found, place):
    bars = [market.random(1, 60)] * 2
    bars[place] = spoil(bars[place])
    with pytest.raises(DataError, match=found):
        label_bars(*bars, LabelSettings(), FREE)
