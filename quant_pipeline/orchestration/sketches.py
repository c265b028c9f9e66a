"""A figure as a few hundred characters of SVG. The UI shows Markdown of fewer than 1,000 at once, longer only after a click."""

from __future__ import annotations

import html
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

LONGEST = 999
WIDTH, HEIGHT, ROW, NAMES = 360, 96, 13, 150
"""Pixels: of the whole, of lines, of a row of bars, and of the names left of bars."""
DAY = 86_400
SAFE = " !$'()*+,/:;=?@[]^`{|}~"
DETAIL = (120, 90, 70, 55, 45, 36, 28, 22, 18, 15, 12, 10, 8, 6, 4, 2, 0)
"""Points of each line, or rows of bars: as many as find room."""
Pixels = NDArray[np.float64]


def sketch(figure: Figure) -> str:
    """Markdown of the figure's title and its picture."""
    axes = figure.axes[0]
    draw = _rows if axes.patches else _lines
    head = f"{axes.get_title(loc='left')}\n\n![picture](<data:image/svg+xml,"
    return next(text for detail in DETAIL if len(text := f"{head}{quote(draw(axes, detail), safe=SAFE)}>)") <= LONGEST)


def _lines(axes: Axes, points: int) -> str:
    """All lines on one scale; beside them the least and the greatest value, below the first and the last moment."""
    lines = [(_thinned(line.get_xydata(), points), _colour(line.get_color())) for line in axes.lines]
    every = np.concatenate([np.empty((0, 2)), *(values for values, _ in lines)])
    if not len(every):
        return _svg("", HEIGHT)
    (left, low), (right, high) = every.min(axis=0), every.max(axis=0)
    scale = np.array([WIDTH / ((right - left) or 1), (40 - HEIGHT) / ((high - low) or 1)])
    paths = "".join(_path((values - [left, high]) * scale + [0, 14], colour) for values, colour in lines if len(values))
    values = _text(0, 10, f"{high:.4g}") + _text(0, HEIGHT - 13, f"{low:.4g}")
    moments = _text(0, HEIGHT - 2, _moment(axes, left)) + _text(WIDTH - 55, HEIGHT - 2, _moment(axes, right))
    return _svg(paths + _legend(axes) + values + moments, HEIGHT)


def _thinned(line: Any, points: int) -> Pixels:
    """So many points (points, 2) of those of a line that have a value: evenly chosen, with its ends, its least and greatest."""
    told = np.asarray(line, dtype=np.float64)
    known = told[np.isfinite(told).all(axis=1)]
    if not len(known):
        return known
    evenly = np.linspace(0, len(known) - 1, min(points, len(known))).round().astype(np.int64)
    chosen: Pixels = known[np.union1d(evenly, [known[:, 1].argmin(), known[:, 1].argmax()])]
    return chosen


def _path(pixels: Pixels, colour: str) -> str:
    first, *steps = np.diff(pixels.round().astype(np.int64), axis=0, prepend=[[0, 0]]).tolist()
    moves = " ".join(f"{x} {y}" for x, y in steps).replace(" -", "-")
    return f"<path fill='none' stroke='{colour}' d='M{first[0]} {first[1]}l{moves}'/>"


def _rows(axes: Axes, count: int) -> str:
    """The topmost rows of bars: the name of each, and its length where it is of one bar."""
    rows = defaultdict(list)
    for bar in cast("list[Rectangle]", axes.patches):
        if np.isfinite(bar.get_width()):
            rows[bar.get_y() + bar.get_height() / 2].append((bar.get_x(), bar.get_width(), _colour(bar.get_facecolor())))
    names = dict(zip(axes.get_yticks(), (label.get_text() for label in axes.get_yticklabels()), strict=True))
    body, top = _legend(axes), ROW if axes.lines else 0
    strokes: dict[str, str] = defaultdict(str)
    left, scale = _scale([bar for bars in rows.values() for bar in bars])
    for place, row in enumerate(sorted(rows, reverse=not axes.yaxis_inverted())[:count]):
        y = top + ROW * place
        length = f" {rows[row][0][1]:.3g}" if len(rows[row]) == 1 else ""
        body += _text(0, y + 10, names.get(row, "") + length)
        for start, width, colour in rows[row]:
            strokes[colour] += f"M{NAMES + (start - left) * scale:.0f} {y + 6}h{width * scale:.0f}"
    body += "".join(f"<path stroke-width='8' stroke='{colour}' d='{moves}'/>" for colour, moves in strokes.items())
    return _svg(body, top + ROW * min(count, len(rows)) + 4)


def _scale(bars: list[tuple[float, float, str]]) -> tuple[float, float]:
    """Where the bars begin, and pixels for one of the axes' numbers."""
    ends = [end for start, length, _ in bars for end in (start, start + length)] or [0.0]
    return min(ends), (WIDTH - NAMES) / ((max(ends) - min(ends)) or 1)


def _legend(axes: Axes) -> str:
    """The names of several lines in their colours."""
    if len(axes.lines) < 2:  # noqa: PLR2004 - one needs no name beside the title
        return ""
    names = ((str(line.get_label()), _colour(line.get_color())) for line in axes.lines)
    return "".join(_text(70 + 80 * place, 10, name, colour) for place, (name, colour) in enumerate(names))


def _text(x: int, y: int, words: str, colour: str = "") -> str:
    place = f" x='{x}'" * bool(x) + f" fill='{colour}'" * bool(colour)
    return f"<text y='{y}'{place}>{html.escape(words)}</text>"


def _svg(body: str, height: int) -> str:
    size = f"width='{WIDTH}' height='{height}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} fill='gray' font-size='10' font-family='Arial'>{body}</svg>"


def _moment(axes: Axes, place: float) -> str:
    """A place of the time axis as a date; of an axis of numbers as it is."""
    from matplotlib.dates import AutoDateFormatter

    dated = isinstance(axes.xaxis.get_major_formatter(), AutoDateFormatter)
    return f"{datetime.fromtimestamp(DAY * place, UTC):%Y-%m-%d}" if dated else f"{place:g}"


def _colour(told: Any) -> str:
    from matplotlib.colors import to_hex

    return str(to_hex(told))
