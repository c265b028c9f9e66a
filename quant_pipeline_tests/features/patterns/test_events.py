"""Anchored re-runs, ageing of detections, and the table of detections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.features.patterns.events import (
    CONFIDENCE,
    END,
    FIRST,
    FORGOTTEN_BARS,
    HALF_LIFE,
    HOLD,
    KNOWN,
    PATTERN,
    WIDTH,
    Bars,
    Pattern,
    PatternFamily,
    blocks,
    event_table,
    family_features,
    feature_meanings,
    no_events,
    pattern_features,
    record,
    run_blocks,
    stacked,
)
from quant_pipeline.features.patterns.zigzag import BLOCK_BARS, LOOKBACK, REACH
from quant_pipeline.jit import compiled

PATTERNS = (Pattern("toy_up", 1, "a close 3 % above the one before"), Pattern("toy_any", 0, "a close 3 % away"))


@compiled
def _detect(bars: Bars):
    """Jumps of the close; the first bar of the stretch marks how far back it was read."""
    events = no_events()
    for i in range(1, bars.close.size):
        jump = bars.close[i] / bars.close[i - 1] - 1.0
        rows, prices = np.array([0, i - 1, i]), np.array([bars.close[0], bars.close[i - 1], bars.close[i]])
        if jump > 0.03:
            record(events, 0, i - 1, i, 1, jump, rows, prices)
        if abs(jump) > 0.03:
            record(events, 1, i - 1, i, 1 if jump > 0.0 else -1, abs(jump), rows, prices)
    return stacked(events)


FAMILY = PatternFamily("toy", PATTERNS, _detect)


def _columns(n, jumps=(), seed=0):
    """Nearly still prices that jump by 5 % at `jumps`, blocks of whole 128 bars."""
    steps = 1e-4 * np.random.default_rng(seed).normal(size=n)
    for bar, size in jumps:
        steps[bar] = size
    close = 100 * np.exp(np.cumsum(steps))
    return {name: close.copy() for name in ("open", "high", "low", "close")} | {"anchor": np.floor(np.arange(n) / BLOCK_BARS)}


def _event(pattern, known, direction, confidence, first, end):
    event = np.full(WIDTH, np.nan)
    event[:8] = pattern, known - 5, known - 1, known, direction, confidence, first, end
    return event


def test_blocks_read_their_reach_and_speak_for_themselves():
    assert blocks(np.floor(np.arange(1_024.0) / 128)).tolist() == [[128, 768, 896], [256, 896, 1_024]]


def test_blocks_follow_wall_time_where_bars_are_missing():
    anchor = np.repeat([3.0, 5.0, 9.0, 10.0, 30.0], [4, 2, 3, 1, 2])
    expected = [[4, 6, 9], [4, 9, 10], [10, 10, 12]]  # block 9 reads blocks 4 to 9; nothing is near block 30
    assert blocks(anchor).tolist() == expected


def test_a_block_whose_reach_may_be_cut_is_left_out():
    assert blocks(np.arange(float(REACH + 1))).tolist() == []
    assert blocks(np.arange(REACH + 2.0)).tolist() == [[1, REACH + 1, REACH + 2]]


def test_every_block_is_run_afresh_on_its_reach():
    columns = _columns(1_100, [(700, 0.05), (780, -0.05), (1_000, 0.05)])
    events = run_blocks(columns, _detect)
    told = [(int(e[PATTERN]), int(e[KNOWN]), int(e[FIRST]), int(e[END]), int(e[8])) for e in events]
    assert sorted(told) == [
        (0, 1_000, 896, 1_024, 256), (0, 1_000, 1_024, 1_100, 384),
        (1, 780, 768, 896, 128), (1, 1_000, 896, 1_024, 256), (1, 1_000, 1_024, 1_100, 384),
    ]  # fmt: skip


def test_a_jump_before_the_block_still_counts_in_it():
    values = family_features(_columns(1_000, [(880, 0.05)]), FAMILY)
    decayed = (np.exp(0.05) - 1) * 0.5 ** (np.arange(FORGOTTEN_BARS + 1) / HALF_LIFE)
    np.testing.assert_allclose(values[1, 880 : 881 + FORGOTTEN_BARS], decayed)


def test_undefined_until_the_reach_is_covered():
    values = family_features(_columns(1_000), FAMILY)
    assert np.isnan(values[:, : (REACH + 1) * BLOCK_BARS]).all()
    assert (values[:, (REACH + 1) * BLOCK_BARS :] == 0.0).all()


@pytest.mark.parametrize("last", [1_500, 1_535, 1_536, 1_537, 1_599])
def test_the_lookback_decides_a_value(last):
    columns = _columns(1_600, [(bar, 0.05 * (-1) ** bar) for bar in range(600, 1_600, 37)])
    tail = {name: column[last - LOOKBACK + 1 : last + 1] for name, column in columns.items()}
    assert np.array_equal(family_features(tail, FAMILY)[:, -1], family_features(columns, FAMILY)[:, last])


def test_a_detection_is_held_then_fades_then_is_forgotten():
    detected, confidence, *_ = pattern_features(_event(0, 20, 1, 0.8, 0, 200)[None], 200, PATTERNS)
    assert np.flatnonzero(detected).tolist() == list(range(20, 20 + HOLD + 1))
    assert confidence[19] == 0.0
    assert confidence[20] == 0.8
    assert confidence[20 + HALF_LIFE] == pytest.approx(0.4)
    assert confidence[20 + FORGOTTEN_BARS] == pytest.approx(0.8 / 64)
    assert (confidence[21 + FORGOTTEN_BARS :] == 0.0).all()


def test_the_newest_detection_counts_and_gives_the_direction():
    events = np.stack([_event(1, 20, 1, 0.9, 0, 200), _event(1, 24, -1, 0.3, 0, 200)])
    values = pattern_features(events, 200, PATTERNS)
    assert (values[:2] == 0.0).all()
    _, confidence, direction = values[2:]
    assert direction[23] == confidence[23] > 0.6
    assert confidence[24] == 0.3
    assert direction[24] == -0.3


def test_a_detection_counts_only_in_its_block():
    detected = pattern_features(_event(0, 20, 1, 0.8, 22, 25)[None], 200, PATTERNS)[0]
    assert np.flatnonzero(detected).tolist() == [22, 23, 24]


def test_of_several_at_one_bar_the_best_stays():
    @compiled
    def twice(bars: Bars):
        events = no_events()
        last = bars.close.size - 1
        for confidence in (0.5, 0.9, 0.7):
            record(events, 0, last, last, 1, confidence, np.array([0]), np.array([1.0]))
        record(events, 1, last, last, 1, 0.2, np.array([0]), np.array([1.0]))
        return stacked(events)

    events = run_blocks(_columns(800), twice)
    assert sorted(events[:, [PATTERN, CONFIDENCE]].tolist()) == [[0, 0.9], [1, 0.2]]


@compiled
def _one_event(confidence: float):
    events = no_events()
    record(events, 0, 1, 2, 1, confidence, np.array([0]), np.array([1.0]))
    return stacked(events)


def test_confidence_stays_above_zero_and_at_most_one():
    for given, kept in ((-0.5, 0.01), (0.0, 0.01), (0.3, 0.3), (1.7, 1.0)):
        assert _one_event(given)[0, CONFIDENCE] == kept


def test_names_and_rows_match():
    names = list(feature_meanings(PATTERNS))
    assert names == ["toy_up_detected", "toy_up_confidence", "toy_any_detected", "toy_any_confidence", "toy_any_direction"]
    assert len(family_features(_columns(800), FAMILY)) == len(names)


def _frame(columns):
    start, hour = datetime(2025, 1, 1, tzinfo=UTC), timedelta(hours=1)
    opened = pl.datetime_range(start, start + hour * columns["close"].size, hour, time_unit="us", closed="left", eager=True)
    prices = {name: columns[name] for name in ("open", "high", "low", "close")}
    return pl.DataFrame({"timestamp": opened, "known_at": opened + hour, **prices})


def test_the_table_tells_each_detection_once_with_its_times():
    columns = _columns(1_100, [(700, 0.05), (1_000, -0.05), (1_020, 0.05)])
    table = event_table(_frame(columns), columns["anchor"], FAMILY)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    assert table.select("pattern", "direction", "pivot_at", "known_at").rows() == [
        ("toy_any", -1, start + timedelta(hours=999), start + timedelta(hours=1_001)),
        ("toy_any", 1, start + timedelta(hours=1_019), start + timedelta(hours=1_021)),
        ("toy_up", 1, start + timedelta(hours=1_019), start + timedelta(hours=1_021)),
    ]
    assert [point["at"] for point in table["points"][0]] == [start + timedelta(hours=h) for h in (256, 999, 1_000)]
    assert table["points"][0][2]["price"] == pytest.approx(columns["close"][1_000])


def test_no_detections_make_an_empty_table_of_the_same_columns():
    columns = _columns(1_000)
    empty = event_table(_frame(columns), columns["anchor"], FAMILY)
    full = event_table(_frame(_columns(1_000, [(900, 0.05)])), columns["anchor"], FAMILY)
    assert empty.height == 0
    assert empty.schema == full.schema
