"""Small pictures: what their paths say when they are read back."""

from __future__ import annotations

import re

import numpy as np
import pytest

from quant_pipeline.backtest.sparklines import BINS, HEIGHT, course, histogram

NONE = np.empty(0)


def _points(picture: str) -> list[tuple[str, float, float]]:
    path = re.search(r'class="line" d="([^"]*)"', picture)[1]
    return [(pen, float(x), float(y)) for pen, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", path)]


def _tops(picture: str, kind: str) -> list[float]:
    path = re.search(rf'class="{kind}" d="([^"]*)"', picture)[1]
    return [float(top) for top in re.findall(r"V([\d.]+)H", path)][:BINS]


def test_a_rising_course_runs_from_the_lower_left_to_the_upper_right():
    points = _points(course(np.arange(50.0), width=100, points=10))
    assert points[0][1] < points[-1][1]
    assert (points[0][2], points[-1][2]) == (HEIGHT - 2, 2.0)
    assert [y for _, _, y in points] == sorted((y for _, _, y in points), reverse=True)


def test_a_spike_between_two_points_is_kept():
    values = np.zeros(1_000)
    values[503] = 1.0
    assert min(y for _, _, y in _points(course(values, points=10))) == 2.0


def test_a_gap_lifts_the_pen():
    values = np.arange(30.0)
    values[10:20] = np.nan
    points = _points(course(values, points=30))
    assert [k for k, (pen, _, _) in enumerate(points) if pen == "M"] == [0, 10]
    assert len(points) == 20


def test_a_constant_is_a_line_in_the_middle_and_nothing_is_nothing():
    assert {y for _, _, y in _points(course(np.full(20, 3.0)))} == {HEIGHT / 2}
    assert len(_points(course(np.array([1.0])))) == 1
    assert course(np.full(5, np.nan)) == course(NONE) == histogram(NONE, NONE) == ""


def test_bars_are_the_roots_of_shares_on_one_scale():
    first = np.repeat([0.0, 1.0], [900, 100])
    picture = histogram(first, np.repeat([0.0, 1.0], [100, 900]))
    old, new = _tops(picture, "bars"), _tops(picture, "new")
    assert (old[0], new[-1]) == (2.0, 2.0)
    assert old[-1] == pytest.approx(HEIGHT - (HEIGHT - 2) * np.sqrt(100 / 900), abs=0.06)
    assert new[0] == old[-1]
    assert set(old[1:-1]) == {float(HEIGHT)}


def test_without_newer_rows_there_is_no_line_and_equal_values_fill_one_bar():
    picture = histogram(np.full(10, 7.0), NONE)
    assert 'class="new"' not in picture
    assert sum(top < HEIGHT for top in _tops(picture, "bars")) == 1


def test_tails_are_taken_in_by_the_outermost_bars():
    values = np.r_[np.linspace(0, 1, 10_000), 1e9]
    assert sum(top < HEIGHT for top in _tops(histogram(values, NONE), "bars")) == BINS
