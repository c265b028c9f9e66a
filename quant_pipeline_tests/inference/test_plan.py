"""The plan of a trade: the barriers that labels use, from the bars that the signal had seen, and nothing of what came later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.bars.build import build_bars
from quant_pipeline.inference.plan import trade_plan
from quant_pipeline.inference.signals import Signal
from quant_pipeline.labels.triple_barrier import label_bars

AT = datetime(2024, 2, 20, 14, tzinfo=UTC)


def signal(action: int, **changed: object) -> Signal:
    facts = {"symbol": "BTC-USD", "as_of": AT, "decision_at": AT, "status": "ok", "action": action, "reason": "test"}
    facts |= {"position_size": float(abs(action)), "experiment": "small", "profile": "simulated", "simulated": True}
    return Signal(**{**facts, **changed})


@pytest.fixture(scope="module")
def label(minutes_of, two_symbols, small_experiment):
    """What training says of a trade that is decided at AT."""
    rungs, _ = build_bars({"1m": minutes_of["BTC-USD"]}, "24/7", ("1m", "1h"), as_of=AT + timedelta(days=2))
    labels, _ = label_bars(rungs["1h"], rungs["1m"], small_experiment.labels, two_symbols.symbol("BTC-USD").costs)
    return labels.row(by_predicate=pl.col("decision_at") == AT, named=True)


@pytest.mark.parametrize("action", [1, -1])
def test_target_stop_and_expiry_are_those_of_the_labels(desk, label, action):
    settings, plan = desk.experiment.labels, trade_plan(desk, signal(action), desk.experiment.labels)
    cost = desk.universe.symbol("BTC-USD").costs.round_trip * plan.price
    assert action * (plan.target - plan.price) == pytest.approx(settings.tp_atr * label["atr"] + cost, rel=1e-12)
    assert action * (plan.price - plan.stop) == pytest.approx(settings.sl_atr * label["atr"] - cost, rel=1e-12)
    assert plan.expires_at == label["horizon_end"]
    assert plan.price == pytest.approx(label["entry_price"], rel=0.01)


def test_later_bars_change_nothing(desk, minutes_of):
    before = trade_plan(desk, signal(1), desk.experiment.labels)
    later = minutes_of["BTC-USD"].filter(pl.col("timestamp") >= AT).with_columns(pl.col("high") * 2)
    assert desk.store.append("BTC-USD", "1m", later, AT + timedelta(days=900)).notes["revised"] == later.height
    assert trade_plan(desk, signal(1), desk.experiment.labels) == before


def test_holding_has_no_plan_nor_has_a_signal_without_bars(desk):
    assert trade_plan(desk, signal(0), desk.experiment.labels) is None
    early = datetime(2010, 1, 4, 14, tzinfo=UTC)
    assert trade_plan(desk, signal(1, as_of=early, decision_at=early), desk.experiment.labels) is None
