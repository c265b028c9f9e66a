from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.config.timeframes import LADDER, duration, minutes


@given(count=st.integers(1, 500), unit=st.sampled_from([("m", 1), ("h", 60), ("d", 1_440), ("w", 10_080)]))
def test_minutes_is_count_times_unit(count, unit):
    assert minutes(f"{count}{unit[0]}") == count * unit[1]
    assert duration(f"{count}{unit[0]}") == timedelta(minutes=count * unit[1])


def test_the_ladder_climbs_to_the_hour():
    lengths = [minutes(rung) for rung in LADDER]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1], len(lengths)) == (1, 60, 9)


@pytest.mark.parametrize("name", ["", "m", "0m", "-1m", "1", "1s", "1.5h", "h1", "1 h"])
def test_what_is_no_timeframe_is_refused(name):
    with pytest.raises(ValueError, match=r"a number .1 to 99999. and one of"):
        minutes(name)
