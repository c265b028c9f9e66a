"""Alignment of articles to decisions against a loop that reads every article."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.errors import DataError
from quant_pipeline.features.text.alignment import MOST, WINDOW, align_news

moments = st.lists(st.integers(0, 60), max_size=25)


def brute(at, known, width, most):
    index = []
    for moment in at:
        inside = [row for row, since in enumerate(known) if moment - width < since <= moment]
        newest = sorted(inside, key=lambda row: (known[row], row), reverse=True)[:most]
        index.append(newest + [-1] * (most - len(newest)))
    return np.array(index, np.int64).reshape(len(at), most)


@given(moments, moments.map(sorted), st.integers(1, 30), st.integers(1, 6))
def test_alignment_is_that_of_brute_force(at, known, width, most):
    index, mask = align_news(np.array(at, np.int64), np.array(known, np.int64), window=timedelta(microseconds=width), most=most)
    wanted = brute(at, known, width, most)
    np.testing.assert_array_equal(index, wanted)
    np.testing.assert_array_equal(mask, wanted >= 0)
    assert (index.dtype, mask.dtype) == (np.int64, np.bool_)


@given(moments.map(sorted), moments.map(sorted))
def test_later_articles_change_nothing(known, later):
    at = np.arange(0, 61, 7)
    before, _ = align_news(at, np.array(known, np.int64), window=timedelta(microseconds=20))
    after, _ = align_news(at, np.array(known + [61 + moment for moment in later], np.int64), window=timedelta(microseconds=20))
    np.testing.assert_array_equal(before, after)


def test_the_edges_of_the_day():
    day = 86_400_000_000
    index, mask = align_news(np.array([day]), np.array([0, 1, day, day + 1]))
    assert (WINDOW, MOST, index.shape) == (timedelta(hours=24), 10, (1, 10))
    assert index[0, :3].tolist() == [2, 1, -1]
    assert mask.sum() == 2


def test_unsorted_articles_and_empty_windows_are_refused():
    with pytest.raises(DataError, match="sorted"):
        align_news(np.array([5]), np.array([3, 2]))
    with pytest.raises(DataError, match="above zero"):
        align_news(np.array([5]), np.array([3]), window=timedelta(0))
