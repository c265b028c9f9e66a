from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.orchestration.figures import counts, lines, timeline
from quant_pipeline.orchestration.sketches import HEIGHT, WIDTH, sketch

START = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
WALK = pl.DataFrame({
    "at": pl.datetime_range(START, datetime(2026, 12, 31, tzinfo=UTC), "1h", eager=True),
}).with_columns(net=np.cos(pl.int_range(pl.len()) / 500), gross=pl.int_range(pl.len()) / 5_000, flat=pl.lit(0.5))  # fmt: skip


def drawn(figure: object) -> tuple[list[str], list[str]]:
    """The words and the paths of a sketch, which is Markdown that the UI shows at once."""
    told = sketch(figure)
    assert len(told) < 1_000
    title, picture = told.split("\n\n")
    assert title == figure.axes[0].get_title(loc="left")
    (uri,) = re.fullmatch(r"!\[picture\]\(<data:image/svg\+xml,([^<>\\#\"&\n]*)>\)", picture).groups()
    root = ET.fromstring(unquote(uri))  # noqa: S314 - our own
    return [text.text for text in root.iter(f"{SVG}text")], [path.get("d") for path in root.iter(f"{SVG}path")]


def points(path: str) -> list[tuple[int, int]]:
    """The corners of a path of one line."""
    moves = np.array(re.findall(r"-?\d+", path), dtype=int).reshape(-1, 2)
    return [tuple(corner) for corner in moves.cumsum(axis=0).tolist()]


def test_lines_are_seen_whole_with_their_scale_and_names():
    words, paths = drawn(lines(WALK, "at", ["net", "gross", "flat"], "a year of <it>"))
    assert words == ["net", "gross", "flat", "1.747", "-1", "2026-01-01", "2026-12-31"]
    corners = [points(path) for path in paths]
    assert min(map(len, corners)) >= 20
    assert all(one[0][0] == 0 and one[-1][0] == WIDTH for one in corners)
    assert all(0 < y < HEIGHT - 20 for one in corners for _, y in one)
    assert len({y for _, y in corners[2]}) == 1


def test_one_line_has_no_name_and_gaps_are_left_out():
    holed = WALK.with_columns(net=pl.when(pl.int_range(pl.len()) % 3 > 0).then("net"))
    words, (path,) = drawn(lines(holed, "at", ["net"], "weight"))
    assert "net" not in words
    assert len(points(path)) > 60


def test_bars_are_told_with_their_names_and_lengths_from_the_top():
    words, (path,) = drawn(counts({f"feature_{n}_1h": 1.0 - n / 20 for n in range(15)}, "PSI"))
    assert words[:2] == ["feature_0_1h 1", "feature_1_1h 0.95"]
    assert len(words) >= 10
    lengths = [int(length) for length in re.findall(r"h(\d+)", path)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 210


@pytest.mark.parametrize("values", [{}, {"a": float("nan")}, {"a": float("nan"), "b": -1.0, "<&>": 2.0}])
def test_what_is_empty_or_undefined_is_drawn_too(values):
    words, _ = drawn(counts(values, "nothing much"))
    assert words == [f"{name} {value:.3g}" for name, value in values.items() if value == value]  # noqa: PLR0124 - nan


def test_spans_of_folds_stand_below_each_other():
    day = [START.replace(day=n) for n in range(1, 9)]
    rows = [("fold_00", "train", day[0], day[3]), ("fold_00", "oof", day[3], day[5]), ("fold_01", "train", day[0], day[7])]
    words, paths = drawn(timeline(pl.DataFrame(rows, schema=["fold", "role", "start", "end"], orient="row"), "folds"))
    assert words == ["train", "valid", "oof", "fold_00", "fold_01 7"]
    assert paths == ["M150 19h90M150 32h210", "M240 19h60"]


@given(st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=40), st.text("az<&é%", min_size=1, max_size=20))
def test_every_line_finds_room(values, name):
    frame = pl.DataFrame({"at": range(len(values)), name: values}, schema={"at": pl.Int64, name: pl.Float64}, strict=False)
    assert len(sketch(lines(frame, "at", [name, name], "t"))) < 1_000
