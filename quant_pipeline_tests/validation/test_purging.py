from __future__ import annotations

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given

from quant_pipeline.validation.purging import Windows, label_windows, removed_by

HOUR = 3_600_000_000


def hours(starts_and_lengths):
    start, length = np.array(starts_and_lengths, dtype=np.int64).T
    return Windows(start * HOUR, (start + length) * HOUR)


def test_a_label_known_when_the_block_begins_stays():
    windows = hours([(0, 3), (1, 3), (4, 1), (5, 1), (6, 1), (7, 1)])
    removed = removed_by([np.array([2, 3])], windows, timedelta(0))
    assert removed.purged.tolist() == [False, False, True, True, False, False]
    longer = removed_by([np.array([2, 3])], hours([(0, 3), (1, 4), (4, 1), (5, 2), (6, 1), (7, 1)]), timedelta(0))
    assert longer.purged.tolist() == [False, True, True, True, True, False]


def test_the_embargo_lies_on_both_sides():
    windows = hours([(hour, 1) for hour in range(10)])
    removed = removed_by([np.array([5])], windows, timedelta(hours=2))
    assert np.flatnonzero(removed.purged).tolist() == [5]
    assert np.flatnonzero(removed.embargoed).tolist() == [3, 4, 6, 7]
    assert np.flatnonzero(removed.either).tolist() == [3, 4, 5, 6, 7]


def test_a_long_window_early_on_is_purged_though_later_ones_stay():
    windows = hours([(0, 20), (1, 1), (2, 1), (10, 1)])
    assert removed_by([np.array([3])], windows, timedelta(0)).purged.tolist() == [True, False, False, True]


def test_an_empty_block_removes_nothing():
    assert not removed_by([np.empty(0, np.int64)], hours([(0, 1)]), timedelta(hours=5)).either.any()


@given(
    gaps=st.lists(st.integers(1, 5), min_size=12, max_size=40),
    lengths=st.lists(st.integers(1, 12), min_size=40, max_size=40),
    embargo=st.integers(0, 6),
    data=st.data(),
)
def test_exactly_the_rows_near_a_block_are_removed(gaps, lengths, embargo, data):
    starts = np.cumsum(gaps)
    windows = hours(list(zip(starts, lengths[: len(starts)], strict=True)))
    first = data.draw(st.integers(0, len(starts) - 2))
    second = data.draw(st.integers(first + 1, len(starts) - 1))
    blocks = [np.arange(first, second), np.arange(second, len(starts))[1:3]]
    removed = removed_by(blocks, windows, timedelta(hours=embargo))
    for row in range(len(starts)):
        distances = [
            max(windows.start[block].min() - windows.end[row], windows.start[row] - windows.end[block].max())
            for block in blocks
            if len(block)
        ]
        assert removed.purged[row] == any(distance < 0 for distance in distances)
        assert removed.either[row] == any(distance < embargo * HOUR for distance in distances)


@pytest.mark.parametrize(("horizon", "wanted"), [(None, 2), (5, 5), (1, 2)])
def test_a_row_is_known_when_both_its_label_and_its_forward_return_are(horizon, wanted):
    start = datetime(2024, 1, 1, tzinfo=UTC)
    labels = pl.DataFrame({"decision_at": [start], "label_end": [start + timedelta(hours=2)]})
    if horizon:
        labels = labels.with_columns(horizon_end=pl.lit(start + timedelta(hours=horizon)))
    windows = label_windows(labels)
    assert (windows.end - windows.start).tolist() == [wanted * HOUR]
