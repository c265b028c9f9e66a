from __future__ import annotations

from datetime import date

import pytest
import yaml

from quant_pipeline.config.cleaning import Adjustment, CleaningRules, DropLimits
from quant_pipeline.config.universe import Universe
from quant_pipeline.errors import ConfigError

APPLE = {
    "calendar": "NYSE",
    "costs": {"fee_bps": 5},
    "risk": {"max_leverage": 2, "max_drawdown_pct": 15, "max_position_pct": 15},
}


def universe(text: str) -> Universe:
    return Universe.parse({"symbols": {"AAPL": {**APPLE, **yaml.safe_load(text)}}}, "universe.yaml")


@pytest.mark.parametrize(
    ("written", "factor"),
    [('"4:1"', 4.0), ('"3:2"', 1.5), ('"1 : 8"', 0.125), ("4", 4.0), ("0.05", 0.05), ("none", 1.0), ('"100:1"', 100.0)],
)
def test_a_ratio_is_new_shares_for_one_old(written, factor):
    (each,) = universe(f"adjustments: [{{date: 2020-08-31, ratio: {written}}}]").instrument("AAPL").adjustments
    assert (each.date, each.factor) == (date(2020, 8, 31), factor)


@pytest.mark.parametrize(
    "written", ["4:1", "3:2", "1:8", "0", "-2", '"4 for 1"', '"0:1"', "true", "null", '"1:0"', ".nan", ".inf"]
)
def test_a_ratio_that_cannot_be_is_refused_so_is_what_yaml_makes_of_one_without_quotes(written):
    with pytest.raises(ConfigError, match=r'adjustments\.0\.ratio.*: found .*"4:1" in quotes'):
        universe(f"adjustments: [{{date: 2020-08-31, ratio: {written}}}]")


@pytest.mark.parametrize("written", ["0", "1598832000", "true", "1970-01-01", "2999-01-01"])
def test_a_date_of_no_bar_is_refused(written):
    with pytest.raises(ConfigError, match=r"adjustments\.0\.date.*wanted a date"):
        universe(f"adjustments: [{{date: {written}, ratio: 4}}]")


def test_two_adjustments_of_one_date_are_refused():
    with pytest.raises(ConfigError, match=r"one adjustment a date.*2020-08-31 has 2"):
        universe("adjustments: [{date: 2020-08-31, ratio: 4}, {date: 2020-08-31, ratio: none}]")


def test_a_symbol_loosens_one_limit_and_keeps_the_others():
    given = universe("limits: {outside_session: 0.7}")
    assert given.cleaning("AAPL", judged=True).limits == DropLimits(outside_session=0.7)
    assert given.cleaning("AAPL") == CleaningRules(symbol="AAPL", adjustments=(), limits=None)


@pytest.mark.parametrize(
    ("text", "told"),
    [("limits: {outside: 0.7}", "write 'outside_session' instead"), ("limits: {conflicting: 5}", "limits.conflicting: found 5")],
)
def test_a_limit_that_cannot_be_is_refused(text, told):
    with pytest.raises(ConfigError, match=told):
        universe(text)


def test_the_factor_of_a_real_move_is_one():
    assert Adjustment(date=date(2020, 3, 16), ratio="none").factor == 1.0
