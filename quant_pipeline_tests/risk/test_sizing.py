import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from quant_pipeline.config.universe import RiskProfile, load_universe
from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.risk.sizing import confidence_to_size, notional_share

GOLD = RiskProfile(max_leverage=3.0, max_drawdown_pct=15, max_position_pct=25)
PROBABILITIES = st.floats(0, 1)


@pytest.mark.parametrize(("confidence", "size"), [(0.55, 1.0), (0.775, 2.0), (1.0, 3.0)])
def test_gold_gets_the_sizes_of_the_document(confidence, size):
    risk = load_universe().symbol("GC=F").risk
    assert confidence_to_size(confidence, max_leverage=risk.max_leverage) == pytest.approx(size, abs=1e-12)


def test_the_ends_of_the_ramp_are_exact_and_below_it_nothing_is_traded():
    assert confidence_to_size(0.55) == 1.0
    assert confidence_to_size(1.0) == 3.0
    assert confidence_to_size(math.nextafter(0.55, 0)) == 0.0
    assert confidence_to_size(0.0) == 0.0


@given(one=PROBABILITIES, other=PROBABILITIES, top=st.floats(0.1, 10), start=st.floats(0, 0.99))
def test_more_confidence_never_means_less_and_never_more_than_the_leverage(one, other, top, start):
    low, high = (confidence_to_size(c, max_leverage=top, min_confidence=start) for c in sorted((one, other)))
    assert 0 <= low <= high + 1e-12
    assert high <= top * (1 + 1e-12)


def test_the_base_never_exceeds_a_small_leverage():
    assert confidence_to_size(0.55, max_leverage=0.5) == 0.5
    assert confidence_to_size(1.0, max_leverage=0.5) == 0.5


@pytest.mark.parametrize("confidence", [-0.01, 1.01, math.nan, math.inf])
def test_what_is_not_a_probability_is_refused(confidence):
    with pytest.raises(DataError, match="confidence"):
        confidence_to_size(confidence)


@pytest.mark.parametrize(
    "wrong", [{"min_confidence": 1.0}, {"min_confidence": -0.1}, {"base_size": -1.0}, {"max_leverage": -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="position sizing"):
        confidence_to_size(0.7, **wrong)


@pytest.mark.parametrize(("size", "share"), [(0, 0), (1, 0.25 / 3), (3, 0.25), (3.1, 0.25), (100, 0.25)])
def test_the_largest_size_takes_exactly_the_largest_share(size, share):
    assert notional_share(size, GOLD) == pytest.approx(share, abs=1e-15)


@pytest.mark.parametrize("size", [-1.0, math.nan, math.inf])
def test_an_impossible_size_is_refused(size):
    with pytest.raises(DataError, match="position size"):
        notional_share(size, GOLD)
