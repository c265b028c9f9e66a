"""Figures of the skill report, drawn with Agg on a transparent ground that reads on light and dark pages.

Each function draws into axes or makes one `Figure`; `png` gives its bytes, equal for equal data.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from quant_pipeline.backtest.verdicts import ENSEMBLE, models
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.paths import PATH
from quant_pipeline.validation.skill import CLASSES, calibration_curve, confusion_matrix
from quant_pipeline.validation.skill_table import POOLED, PROBABILITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from quant_pipeline.backtest.engine import Backtest

INK = "#808790"  # grey of text and axes: contrast of 3.6 on white and 5 on near-black
FAINT = "#80879040"
# Okabe & Ito: eight hues told apart by colour-blind readers; the ensemble is always the first
HUES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A900", "#999999")
DOWN, FLAT, UP = "#D55E00", "#9AA0A8", "#0072B2"
DARK = 0.7  # share from which a cell of the colour map needs white letters
STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "auto",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6,
    "legend.frameon": False, "legend.fontsize": 8, "axes.axisbelow": True, "lines.linewidth": 1.4, "path.simplify_threshold": 0.3,
}  # fmt: skip


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Figure, Any]:
    """A figure in inches and its axes (rows, columns); use inside `matplotlib.rc_context(STYLE)`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def png(figure: Figure, dpi: int = 150) -> bytes:
    """PNG bytes without date or library version."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def hue(names: Sequence[str], name: str) -> str:
    """The colour of a model among `names`."""
    return HUES[list(names).index(name) % len(HUES)]


def ic_by_fold(axes: Axes, table: pl.DataFrame) -> None:
    """Rank IC of each model in each fold with its interval, zero (chance) and, where known, the reachable."""
    names = models(table)
    rows = table.filter(pl.col("metric") == "ic", pl.col("kind") == "model", ~pl.col("fold").str.starts_with(PATH))
    folds = [*(f for f in rows["fold"].unique().sort() if f not in {POOLED, HOLDOUT}), POOLED, HOLDOUT]
    folds = [fold for fold in folds if fold in rows["fold"]]
    width = 0.7 / max(len(names), 1)
    for k, name in enumerate(names):
        mine = rows.filter(pl.col("model") == name).drop_nulls(["low"])
        x = np.array([folds.index(fold) for fold in mine["fold"]]) + (k - (len(names) - 1) / 2) * width
        value, low, high = (mine[column].to_numpy() for column in ("value", "low", "high"))
        axes.vlines(x, low, high, color=hue(names, name), linewidth=2.2, alpha=0.75)
        axes.plot(x, value, "o", color=hue(names, name), markersize=5, label=name)
    reach = rows.group_by("fold").agg(pl.col("reachable").max()).drop_nulls()
    if reach.height:
        at = np.array([folds.index(fold) for fold in reach["fold"]])
        axes.hlines(reach["reachable"], at - 0.42, at + 0.42, color=INK, linestyle=(0, (4, 2)), label="best reachable")
    axes.axhline(0, color=INK, linewidth=1)
    if POOLED in folds:
        axes.axvspan(folds.index(POOLED) - 0.5, folds.index(POOLED) + 0.5, color=FAINT, linewidth=0, alpha=0.12)
    axes.set_xticks(range(len(folds)), ["pooled" if fold == POOLED else fold for fold in folds])
    axes.set(title="Rank IC with intervals (0 is chance)", xlim=(-0.5, len(folds) - 0.5))
    axes.grid(visible=False, axis="x")
    axes.legend(ncols=len(names) + 1, loc="upper left", bbox_to_anchor=(0, -0.08))


def calibration(axes: Axes, rows: pl.DataFrame, name: str) -> None:
    """Observed against forecast frequency of long and short, ten bins of equal size with two standard errors."""
    top = 0.05
    for column, label, colour in (("p_long", 1, UP), ("p_short", -1, DOWN)):
        curve = calibration_curve(rows[column].to_numpy(), (rows["label"] == label).to_numpy())
        x, y = curve["forecast"].to_numpy(), curve["observed"].to_numpy()
        noise = 2 * np.sqrt(np.maximum(y * (1 - y), 1e-9) / curve["rows"].to_numpy())
        axes.errorbar(x, y, noise, fmt="o-", color=colour, markersize=3.5, elinewidth=0.8, label=CLASSES[label + 1])
        top = max(top, float(x.max()), float((y + noise).max()))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set(title=name, xlim=(0, min(1, top * 1.05)), ylim=(0, min(1, top * 1.05)), aspect="equal", xlabel="forecast")


def confusion(axes: Axes, rows: pl.DataFrame, name: str) -> None:
    """What happened (rows) by what was most probable (columns): count and share of the row."""
    counts = confusion_matrix(rows.select(PROBABILITIES).to_numpy(), rows["label"].to_numpy())
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, alpha=0.85)
    for i in range(3):
        for j in range(3):
            colour = "#ffffff" if share[i, j] > DARK else "#1c2733"
            axes.text(j, i, f"{share[i, j]:.0%}\n{counts[i, j]:,}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(3), CLASSES)
    axes.set_yticks(range(3), CLASSES, rotation=90, va="center")
    axes.set(title=name, xlabel="most probable")
    axes.grid(visible=False)


def equity(axes: Sequence[Axes], backtests: Mapping[str, Backtest], hold: Backtest, holdout: Any = None) -> None:
    """Net equity beside buy-and-hold; with more axes also drawdown, and turnover so far. `holdout`: where it begins."""
    names = list(backtests)
    curves = [("buy and hold", hold.equity, INK, 1.2), *((name, backtests[name].equity, hue(names, name), 1.1) for name in names)]
    for name, frame, colour, width in curves:
        at = frame["known_at"].dt.replace_time_zone(None).to_numpy()
        main = name == ENSEMBLE or len(names) == 1
        look: dict[str, Any] = {
            "color": colour,
            "linewidth": 2.0 if main else width,
            "alpha": 1.0 if main else 0.75,
            "zorder": 3 if main else 2,
        }
        axes[0].plot(at, 100 * (frame["net"].to_numpy() - 1), label=name, **look)
        for axis, column, scale in zip(axes[1:], ("drawdown", "turnover"), (100, 1), strict=False):
            axis.plot(at, scale * frame[column].to_numpy(), **look)
    axes[0].axhline(0, color=INK, linewidth=0.8)
    for axis, title in zip(axes, ("Equity net of costs, %", "Drawdown, %", "Turnover so far, times equity"), strict=False):
        axis.set_title(title)
        if holdout is not None:
            axis.axvspan(
                holdout.replace(tzinfo=None),
                hold.equity["known_at"][-1].replace(tzinfo=None),
                color=FAINT,
                linewidth=0,
                alpha=0.15,
            )
        _date_ticks(axis)
    axes[0].legend(loc="lower left", ncols=2)


def class_balance(axes: Axes, rows: pl.DataFrame) -> None:
    """Share of each class among the labels of each fold."""
    counts = (
        rows.unique(["fold", "decision_at"])
        .group_by("fold")
        .agg(*(pl.col("label").eq(k).mean().alias(str(k)) for k in (-1, 0, 1)))
    )
    counts = counts.sort("fold", descending=True)
    left = np.zeros(counts.height)
    for k, colour in zip((-1, 0, 1), (DOWN, FLAT, UP), strict=True):
        share = counts[str(k)].to_numpy()
        axes.barh(counts["fold"].to_list(), share, left=left, color=colour, height=0.65, label=CLASSES[k + 1])
        for at, each in enumerate(share):
            axes.text(left[at] + each / 2, at, f"{each:.0%}", ha="center", va="center", color="#ffffff", fontsize=8)
        left += share
    axes.set(title="Labels by fold", xlim=(0, 1), xticks=[])
    axes.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, -0.02))
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def fold_timeline(axes: Axes, splits: pl.DataFrame) -> None:
    """When each fold trained, stopped early and was scored; gaps are purge and embargo."""
    from matplotlib.patches import Patch

    folds = splits["fold"].unique().sort(descending=True).to_list()
    looks = {"train": (FLAT, 0.55), "valid": (HUES[1], 0.55), "oof": (UP, 0.75)}
    naive = splits.with_columns(pl.col("start", "end").dt.replace_time_zone(None))
    for fold, role, start, end in naive.select("fold", "role", "start", "end").iter_rows():
        colour, height = looks[role]
        axes.barh(folds.index(fold), end - start, left=start, height=height, color=colour)
    axes.set_yticks(range(len(folds)), folds)
    axes.set_title("Folds: what was learnt from, and what was scored")
    names = ("training", "early stopping", "scored (out of fold)")
    handles = [Patch(color=colour, label=name) for (colour, _), name in zip(looks.values(), names, strict=True)]
    axes.legend(handles=handles, ncols=3, loc="upper left", bbox_to_anchor=(0, -0.1))
    axes.grid(visible=False, axis="y")
    _date_ticks(axes)


def _date_ticks(axes: Axes) -> None:
    from matplotlib import dates

    untyped: Any = dates  # these two carry no type hints
    locator = untyped.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
