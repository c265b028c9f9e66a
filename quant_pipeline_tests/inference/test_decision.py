"""Decisions against a slow rule written out, and the words of every refusal."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import SignalSettings
from quant_pipeline.config.universe import RiskProfile
from quant_pipeline.errors import ModelError
from quant_pipeline.inference.decision import decide, decide_all
from quant_pipeline.risk.portfolio import PortfolioState

GOLD = RiskProfile(max_leverage=3.0, max_drawdown_pct=15, max_position_pct=25)
SETTINGS = SignalSettings()
GOOD = {"p_short": 0.2, "p_long": 0.6, "e_long": 0.0012, "e_short": -0.002}
returns = st.floats(-0.05, 0.05)


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), returns, returns)
def test_the_rule(p_short, p_long, e_long, e_short):
    assume(p_short + p_long <= 1)
    made = decide({"p_short": p_short, "p_long": p_long, "e_long": e_long, "e_short": e_short}, SETTINGS, GOLD)
    side = "long" if e_long >= e_short else "short"
    confidence = {"long": p_long, "short": p_short}[side]
    acts = max(e_long, e_short) > 0 and confidence >= 0.55
    assert made.action == ({"long": 1, "short": -1}[side] if acts else 0)
    assert made.confidence == confidence
    assert made.size == pytest.approx(1 + 2 * (confidence - 0.55) / 0.45 if acts else 0)
    assert made.size <= GOLD.max_leverage
    assert made.share == pytest.approx(made.size / 3 * 0.25)
    assert made.reason


def test_at_the_limit_it_still_acts():
    assert decide({**GOOD, "p_long": 0.55, "p_short": 0.45}, SETTINGS, GOLD).size == 1.0


def test_a_long_says_what_it_pays():
    made = decide(GOOD, SETTINGS, GOLD)
    assert made.action == 1
    assert made.reason == "long pays +0.120 % net, short -0.200 %; confidence 60.0 %"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"e_long": -0.0001}, "neither side is expected to earn its costs: long pays -0.010 % net, short -0.200 %"),
        ({"e_long": 0.0, "e_short": 0.0}, "neither side is expected to earn its costs"),
        ({"p_long": 0.5, "p_short": 0.01}, "confidence 50.0 % for long is below 55 %"),
        ({"p_short": 0.0, "p_long": 0.0}, "confidence 0.0 % for long is below 55 %"),
    ],
)
def test_nothing_says_why(changes, words):
    made = decide({**GOOD, **changes}, SETTINGS, GOLD)
    assert (made.action, made.size, made.share) == (0, 0.0, 0.0)
    assert words in made.reason


@pytest.mark.parametrize(
    ("state", "action", "size", "words"),
    [
        (PortfolioState(equity=0.96), 0, 0.0, "but stopped by the circuit breaker daily_loss"),
        (PortfolioState(equity=0.8, day_start_equity=0.8), 1, 1.0, "size limited by drawdown"),
        (PortfolioState(correlation=0.95), 1, (1 + 2 * (0.6 - 0.55) / 0.45) / 2, "size limited by correlation"),
        (PortfolioState(equity=0.97), 1, 1 + 2 * (0.6 - 0.55) / 0.45, "confidence 60.0 %"),
    ],
)
def test_breakers_limit_and_are_named(state, action, size, words):
    made = decide(GOOD, SETTINGS, GOLD, state)
    assert made.action == action
    assert made.size == pytest.approx(size)
    assert made.reason.endswith(words)


@pytest.mark.parametrize("name", ["p_short", "p_long", "e_long", "e_short"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.5e300])
def test_no_number_no_decision(name, value):
    if name.startswith("e_") and value == -1.5e300:
        return
    with pytest.raises(ModelError, match=name):
        decide({**GOOD, name: value}, SETTINGS, GOLD)


@given(p_neutral=st.floats(0, 0.45), moves=st.floats(0.01, 1))
def test_a_likely_side_of_unlikely_moves_is_no_confidence(p_neutral, moves):
    calm = {**GOOD, "p_long": 0.5 * moves, "p_short": 0.0}  # never wrong when something happens, which is half the time
    assert decide(calm, SETTINGS, GOLD).action == 0
    sure = decide({**GOOD, "p_long": 1 - p_neutral, "p_short": 0.0}, SETTINGS, GOLD)
    assert sure.confidence == 1 - p_neutral
    assert sure.size == pytest.approx(3 - 2 * p_neutral / 0.45)


def test_a_lower_limit_starts_the_ramp_lower():
    eager = SignalSettings(min_confidence=0.4)
    assert decide({**GOOD, "p_long": 0.4}, eager, GOLD).size == 1.0
    assert decide({**GOOD, "p_long": 0.7}, eager, GOLD).size == pytest.approx(2.0)


def test_a_table_of_forecasts_is_decided_row_by_row():
    rows = [GOOD, {**GOOD, "e_long": -1.0}, {"p_short": 0.6, "p_long": 0.1, "e_long": -0.1, "e_short": 0.1}]
    frame = pl.DataFrame(rows).with_columns(decision_at=pl.int_range(3).cast(pl.Datetime("us", "UTC")))
    table = decide_all(frame, SETTINGS, GOLD)
    assert table.columns == ["decision_at", "action", "size", "confidence", "reason"]
    assert table["action"].to_list() == [1, 0, -1]
    assert table["size"].to_list() == [decide(row, SETTINGS, GOLD).share for row in rows]
