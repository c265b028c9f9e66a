"""The pattern gallery: one real detection of every pattern drawn on its candles, so that a person can judge it."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from quant_pipeline.backtest import figures, pages, skill_report
from quant_pipeline.bars.moments import microseconds, require_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from quant_pipeline.bars.moments import Int64s

TEMPLATE = Path(__file__).with_name("gallery.html")
EVENTS = ("pattern", "start_at", "pivot_at", "known_at", "direction", "confidence", "points")
BARS = ("timestamp", "known_at", "open", "high", "low", "close")
TITLES = {
    "chart": "Chart patterns",
    "candle": "Candlesticks",
    "harmonic": "Harmonic patterns",
    "advanced": "Advanced patterns",
    "elliott": "Elliott waves",
}
"""Section of a pattern by the first word of its name; other words are their own titles."""
NAMES = {"harmonic_ab_cd": "AB=CD"}
"""Titles that are not the words of the name."""
ARROWS = {1: "\N{UPWARDS ARROW} bullish", -1: "\N{DOWNWARDS ARROW} bearish", 0: "neutral"}
TONES = {1: "up", -1: "down", 0: "soft"}
CANDLES = 3
"""Shapes of up to so many bars are framed instead of joined by lines."""
BEFORE = 24
"""Bars shown before a short shape: its trend is measured over 20."""
AFTER = 10
LETTERS = {
    "harmonic_ab_cd": "ABCD",
    "harmonic_three_drives": ("", "1", "A", "2", "B", "3"),
    "harmonic_wolfe_wave": "12345",
    "harmonic": "XABCD",
    "elliott_impulse": "012345",
    "elliott_corrective": ("", "0", "A", "B", "C"),
}
"""Names of the points, by pattern or by the first word of its name."""
YEAR_DAYS = 365.25
COLUMNS = 6


class Gallery(NamedTuple):
    """The page, and one picture of all patterns for a card of the UI."""

    html: str
    png: bytes


class _Shown(NamedTuple):
    """One detection with the rows of its bars, and how often its pattern was seen."""

    name: str
    start: int
    pivot: int
    known: int
    direction: int
    confidence: float
    points: tuple[tuple[int, float], ...]
    known_at: Any
    seen: int
    bullish: int
    bearish: int


def render_gallery(
    events: pl.DataFrame,
    bars: pl.DataFrame,
    meanings: Mapping[str, str],
    *,
    symbol: str,
    simulated: bool,
    facts: Mapping[str, str] | None = None,
) -> Gallery:
    """Draw the best detection of every pattern.

    Args:
        events: of `patterns.events.event_table`, of any families: pattern, start_at, pivot_at (opening times of bars),
            known_at (close of the confirming bar), direction, confidence, points (structs `at`, `price`).
        bars: RUNG BARS on which they were found.
        meanings: definition of every pattern looked for, by name; those without an event are listed as never seen.
        symbol: its name, for the title.
        simulated: whether the market was simulated; the page then says so loudly.
        facts: provenance shown at the foot of the page.

    Raises:
        DataError: a table lacks a column.
    """
    import matplotlib as mpl

    require_columns(events, EVENTS, "pattern events")
    require_columns(bars, BARS, "bars")
    shown = _best(events, bars)
    title = f"Pattern gallery: {symbol}"
    with mpl.rc_context(figures.STYLE):
        page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
            title=html.escape(title), style=_style(), banner=pages.BANNER if simulated else "",
            subtitle=html.escape(_subtitle(events, bars, shown, meanings)), sections=_sections(shown, bars, meanings),
            never=_never(shown, meanings), facts=pages.facts(facts or {}),
        )  # fmt: skip
        overview = _overview(shown, bars, meanings, f"SIMULATED MARKET   {title}" if simulated else title)
    return Gallery(page, overview)


def _best(events: pl.DataFrame, bars: pl.DataFrame) -> dict[str, _Shown]:
    """The event of highest confidence of each pattern, the earliest of equals."""
    rows = events.sort(["confidence", "known_at"], descending=[True, False]).unique("pattern", keep="first", maintain_order=True)
    counts = events.group_by("pattern").agg(
        pl.len().alias("seen"), (pl.col("direction") > 0).sum().alias("bullish"), (pl.col("direction") < 0).sum().alias("bearish")
    )
    opened, closed = microseconds(bars["timestamp"]), microseconds(bars["known_at"])
    known = np.searchsorted(closed, microseconds(rows["known_at"]))
    start, pivot = (np.searchsorted(opened, microseconds(rows[name])) for name in ("start_at", "pivot_at"))
    found = rows.with_columns(start=start, pivot=pivot, known=known).join(counts, on="pattern")
    return {row["pattern"]: _shown(row, opened) for row in found.iter_rows(named=True)}


def _shown(row: Mapping[str, Any], opened: Int64s) -> _Shown:
    at = microseconds(pl.Series([point["at"] for point in row["points"]], dtype=pl.Datetime("us", "UTC")))
    places = np.searchsorted(opened, at).tolist()
    points = tuple(zip(places, (point["price"] for point in row["points"]), strict=True))
    others = {name: row[name] for name in _Shown._fields if name not in {"name", "points"}}
    return _Shown(name=row["pattern"], points=points, **others)


def _years(bars: pl.DataFrame) -> float:
    return max((bars["known_at"][-1] - bars["timestamp"][0]).total_seconds() / 86_400 / YEAR_DAYS, 1e-9) if bars.height else 1.0


def _subtitle(events: pl.DataFrame, bars: pl.DataFrame, shown: Mapping[str, _Shown], meanings: Mapping[str, str]) -> str:
    if not bars.height:
        return "no bars"
    span = f"{bars['timestamp'][0]:%d %b %Y} to {bars['timestamp'][-1]:%d %b %Y}"
    seen = f"{len(set(shown) & set(meanings))} of {len(meanings)} patterns seen"
    return f"{bars.height:,} bars, {span} UTC: {events.height:,} detections, {seen}"


def _style() -> str:
    """The look of the skill report."""
    page = skill_report.TEMPLATE.read_text(encoding="utf-8")
    return page[page.index("<style>") : page.index("</style>") + len("</style>")]


def _words(name: str) -> tuple[str, str]:
    """Section and title of a pattern."""
    family, _, rest = name.partition("_")
    return TITLES.get(family, family.capitalize()), NAMES.get(name, (rest or family).replace("_", " ").capitalize())


def _sections(shown: Mapping[str, _Shown], bars: pl.DataFrame, meanings: Mapping[str, str]) -> str:
    cards: dict[str, list[str]] = {}
    for name, meaning in meanings.items():
        if name in shown:
            cards.setdefault(_words(name)[0], []).append(_card(shown[name], bars, meaning))
    return "".join(f'<h2>{html.escape(title)}</h2><div class="cards">{"".join(each)}</div>' for title, each in cards.items())


def _canvas(width: float, height: float, rows: int = 1, columns: int = 1, **margins: float) -> tuple[Figure, Any]:
    """As `figures.canvas`, with fixed margins: the automatic layout takes half a minute over sixty axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(**margins)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _card(event: _Shown, bars: pl.DataFrame, meaning: str) -> str:
    figure, axes = _canvas(4.6, 2.7, left=0.12, right=0.995, top=0.98, bottom=0.09)
    _draw(axes[0, 0], event, bars)
    picture = base64.b64encode(figures.png(figure, dpi=110)).decode()
    title = html.escape(_words(event.name)[1])
    tone = f'<span class="{TONES[event.direction]}">{ARROWS[event.direction]}</span>'
    often = f"{_count(event.seen, 'time')}, {event.seen / _years(bars):,.0f} a year"
    sides = f" ({event.bullish:,} bullish, {event.bearish:,} bearish)" if event.bullish and event.bearish else ""
    late = event.known - event.pivot
    after = f"{_count(late, 'bar')} after its last extreme" if late else "at the close of its last bar"
    known = f"known {event.known_at:%d %b %Y %H:%M}, {after}"
    return (
        f'<div class="card"><h3>{title} {tone} <span>\N{MIDDLE DOT} confidence {event.confidence:.2f}</span></h3>'
        f'<img alt="{title}" src="data:image/png;base64,{picture}">'
        f'<p class="soft">{often}{sides}; {known}.</p><p>{_meant(event.name, meaning)}.</p></div>'
    )


def _meant(name: str, meaning: str) -> str:
    """A meaning without the name of its pattern, which stands before it already."""
    head, _, rest = meaning.partition(": ")
    told = rest if head.casefold() == _words(name)[1].casefold() else meaning
    return html.escape(told[:1].upper() + told[1:])


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _never(shown: Mapping[str, _Shown], meanings: Mapping[str, str]) -> str:
    missing = [
        f"<li><b>{_words(name)[1]}</b>: {_meant(name, text)}.</li>" for name, text in meanings.items() if name not in shown
    ]
    return f'<ul class="never">{"".join(missing)}</ul>' if missing else '<p class="note">Every pattern was seen.</p>'


def _draw(axes: Axes, event: _Shown, bars: pl.DataFrame) -> None:
    """Candles around one detection, its points joined, its last extreme and the bar that confirmed it marked."""
    first, last = _window(event, bars.height)
    _candles(axes, bars[first : last + 1], first)
    if event.known - event.start < CANDLES:
        low, high = bars["low"][event.start : event.known + 1].min(), bars["high"][event.start : event.known + 1].max()
        _frame(axes, event, low, high)  # type: ignore[arg-type]  # polars types a minimum as any Python literal
    else:
        x, y = zip(*event.points, strict=True)
        axes.plot(x, y, "o-", color=figures.HUES[2], markersize=3.5, linewidth=1.5, zorder=4)
        _letters(axes, event)
        axes.axvline(event.pivot, color=figures.INK, linestyle=(0, (3, 2)), linewidth=1)
    axes.axvline(event.known + 0.5, color=figures.HUES[3], linewidth=1.6)  # its close, not its middle
    axes.axvspan(event.known + 0.5, last + 0.6, color=figures.FAINT, linewidth=0, alpha=0.18)
    axes.set_xlim(first - 0.6, last + 0.6)
    _dates(axes, bars, first, last)


def _window(event: _Shown, rows: int) -> tuple[int, int]:
    """First and last row to show: enough before a shape to see what it came out of."""
    width = event.known - event.start + 1
    before = BEFORE if width <= CANDLES else max(8, width // 3)
    return max(0, event.start - before), min(rows - 1, event.known + max(AFTER, width // 5))


def _candles(axes: Axes, window: pl.DataFrame, first: int) -> None:
    from matplotlib.collections import PolyCollection

    at = np.arange(window.height) + first
    o, h, l, c = (window[name].to_numpy() for name in ("open", "high", "low", "close"))
    colours = np.where(c >= o, figures.UP, figures.DOWN)
    axes.vlines(at, l, h, color=colours, linewidth=0.8)
    least = 0.004 * (h.max() - l.min())  # a body of no height would not be seen
    bottom, left = np.minimum(o, c), at - 0.33
    top, right = bottom + np.maximum(np.abs(c - o), least), at + 0.33
    corners = np.stack([np.stack([left, right, right, left], 1), np.stack([bottom, bottom, top, top], 1)], 2)
    axes.add_collection(PolyCollection(list(corners), facecolors=list(colours), linewidths=0))  # one artist, not one a candle
    margin = 0.11 * max(h.max() - l.min(), 1e-12)
    axes.set_ylim(l.min() - margin, h.max() + margin)


def _frame(axes: Axes, event: _Shown, low: float, high: float) -> None:
    from matplotlib.patches import Rectangle

    bottom, top = axes.get_ylim()
    room = 0.025 * (top - bottom)
    corner, width, height = (event.start - 0.55, low - room), event.known - event.start + 1.1, high - low + 2 * room
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=figures.HUES[2], linewidth=1.6, zorder=4))


def _letters(axes: Axes, event: _Shown) -> None:
    family = event.name.partition("_")[0]
    letters: Sequence[str] = LETTERS.get(event.name, LETTERS.get(family, ()))
    prices = [price for _, price in event.points]
    for k, (letter, (x, price)) in enumerate(zip(letters, event.points, strict=False)):
        beside = prices[k + 1] if k + 1 < len(prices) else prices[k - 1]
        above = price > beside
        axes.annotate(
            letter, (x, price), (0, 4 if above else -4), textcoords="offset points", ha="center", va="bottom" if above else "top",
            fontsize=9, fontweight="bold", color=figures.HUES[2],
        )  # fmt: skip


def _dates(axes: Axes, bars: pl.DataFrame, first: int, last: int) -> None:
    """Three dates below; bars stand side by side, so nights and week-ends take no room."""
    at = np.linspace(first, last, 5).round().astype(int)[1:-1]
    axes.set_xticks(at, [f"{bars['timestamp'][int(row)]:%d %b %H:%M}" for row in at], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(visible=False, axis="x")


def _overview(shown: Mapping[str, _Shown], bars: pl.DataFrame, meanings: Mapping[str, str], title: str) -> bytes:
    """All patterns small, on white."""
    drawn = [shown[name] for name in meanings if name in shown]
    lines = max(1, -(-len(drawn) // COLUMNS))
    height = 2.2 * lines + 0.6
    margins = {"left": 0.035, "right": 0.995, "top": 1 - 0.8 / height, "bottom": 0.15 / height, "wspace": 0.2, "hspace": 0.2}
    figure, axes = _canvas(3.1 * COLUMNS, height, lines, COLUMNS, **margins)
    figure.set_facecolor("#ffffff")
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    for axis, event in zip(axes.flat, drawn, strict=False):
        _draw(axis, event, bars)
        axis.set_xticks([])
        axis.set_title(f"{_words(event.name)[1]}, {event.confidence:.2f}, {event.seen:,}\N{MULTIPLICATION SIGN}", fontsize=9)
    figure.suptitle(title, x=0.01, y=1 - 0.15 / height, ha="left", fontsize=14, fontweight="bold", color="#1d2329")
    return figures.png(figure, dpi=80)
