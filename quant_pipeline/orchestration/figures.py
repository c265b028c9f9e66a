"""The small pictures on asset pages. Reports have their own, in `backtest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLE_COLOURS = {"train": "#4878a8", "valid": "#e0a030", "oof": "#a83c3c"}
MAX_POINTS = 2_000


def _axes(title: str, height: float = 2.4) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height))
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def lines(frame: pl.DataFrame, time: str, columns: list[str], title: str) -> Figure:
    """One line per column over `time`, thinned to at most 2,000 points."""
    figure, axes = _axes(title)
    thin = frame.gather_every(max(1, frame.height // MAX_POINTS))
    for column in columns:
        axes.plot(thin[time].to_numpy(), thin[column].to_numpy(), linewidth=0.8, label=column)
    if len(columns) > 1:
        axes.legend(fontsize=7, frameon=False)
    return figure


def counts(values: Mapping[str, float], title: str) -> Figure:
    """One horizontal bar per name, in the order given."""
    figure, axes = _axes(title, height=0.8 + 0.22 * len(values))
    axes.barh(list(values)[::-1], list(values.values())[::-1], color="#4878a8")
    axes.tick_params(labelsize=7)
    return figure


def timeline(splits: pl.DataFrame, title: str) -> Figure:
    """Train, inner validation and out-of-fold spans of every fold."""
    figure, axes = _axes(title, height=0.8 + 0.3 * splits["fold"].n_unique())
    folds = splits["fold"].unique(maintain_order=True).to_list()
    for row in splits.iter_rows(named=True):
        axes.barh(
            folds.index(row["fold"]), row["end"] - row["start"], left=row["start"], height=0.6, color=ROLE_COLOURS[row["role"]]
        )
    axes.set_yticks(range(len(folds)), folds, fontsize=7)
    axes.invert_yaxis()
    for role, colour in ROLE_COLOURS.items():
        axes.plot([], [], color=colour, linewidth=6, label=role)
    axes.legend(fontsize=7, frameon=False, ncol=3, loc="lower right", bbox_to_anchor=(1, 1))
    return figure
