"""Skill that is too good to be true: a column, or the ensemble, that ranks returns better than anything honest does.

The information coefficient (IC, rank correlation with the forward return) of a good predictor is 0.05, of an excellent one
0.10, and 0.15 is called world class (Grinold and Kahn, "Active portfolio management", ch. 6, as skill of a manager). `CEILING`
is well above that: what lies higher, steadily, is a leak until somebody shows why not. On a simulated market the ceiling is
the best IC of the oracle in any fold where that is higher: nobody honest beats it. The alarm stops nothing; it names what to
look at.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.validation.skill_table import POOLED

CEILING = 0.25
BLOCKS = 8
"""Of consecutive rows; the IC is taken in each, so that two slow trends that happen to agree make no skill."""
STEADY = 4.0
"""Standard errors that the mean of the blocks must be above zero; the error is that of the blocks."""
LEAST_ROWS = 40
"""Of a block in which a rank correlation says something."""
ALARMS = pl.Schema({"what": pl.String(), "name": pl.String(), "ic": pl.Float64(), "ceiling": pl.Float64(), "rows": pl.Int64()})
Floats = npt.NDArray[np.float64]


def implausible_columns(features: pl.DataFrame, labels: pl.DataFrame, reachable: float | None) -> pl.DataFrame:
    """ALARMS of the columns of FEATURES whose IC with the forward return is steadily above the ceiling.

    Args:
        features: one row a decision.
        labels: LABELS of the rows that are learned from; `forward_return` is read.
        reachable: the oracle's IC on a simulated market, else None.
    """
    rows = labels.select("decision_at", "forward_return").join(features.drop("timestamp"), on="decision_at", how="inner")
    names = rows.columns[2:]
    size = rows.height // BLOCKS
    if size < LEAST_ROWS or not names:
        return pl.DataFrame(schema=ALARMS)
    ic = np.stack([_coefficients(rows[block * size : (block + 1) * size, 1:]) for block in range(BLOCKS)])  # (blocks, columns)
    mean, error = ic.mean(axis=0), ic.std(axis=0, ddof=1) / np.sqrt(BLOCKS)
    limit = ceiling(reachable)
    wrong = np.flatnonzero((np.abs(mean) > limit) & (np.abs(mean) > STEADY * error))
    found = [{"what": "column", "name": names[i], "ic": mean[i], "ceiling": limit, "rows": rows.height} for i in wrong]
    return pl.DataFrame(found, schema=ALARMS).sort(pl.col("ic").abs(), descending=True)


def implausible_models(skill: pl.DataFrame) -> pl.DataFrame:
    """ALARMS of the models of a skill table whose pooled out-of-sample IC is above the ceiling by two standard errors."""
    pooled = skill.filter(pl.col("fold") == POOLED, pl.col("metric") == "ic", pl.col("kind") == "model")
    limit = pl.max_horizontal(pl.lit(CEILING), pl.col("reachable"))
    wrong = pooled.filter(pl.col("value").abs() > limit + 2 * pl.col("error"))
    return wrong.select(what=pl.lit("model"), name="model", ic="value", ceiling=limit, rows="rows").match_to_schema(ALARMS)


def reachable_ic(skill: pl.DataFrame) -> float | None:
    """The highest IC that the oracle reached in any fold of a skill table; None where the market is real."""
    told = skill.filter(pl.col("metric") == "ic")["reachable"].drop_nulls()
    return float(told.max()) if len(told) else None  # type: ignore[arg-type]


def ceiling(reachable: float | None) -> float:
    """The IC above which skill is implausible."""
    return max(CEILING, reachable or 0.0)


def _coefficients(block: pl.DataFrame) -> Floats:
    """Rank correlation of every column after the first with the first, (columns,); 0 where one is constant."""
    ranks = block.select(pl.all().rank()).fill_null(np.nan).to_numpy().astype(np.float64)
    centred = ranks - np.nanmean(np.where(np.isnan(ranks).all(axis=0), 0.0, ranks), axis=0)
    centred[np.isnan(centred)] = 0.0
    scale = np.sqrt((centred**2).sum(axis=0))
    together = centred[:, 0] @ centred[:, 1:]
    both = scale[0] * scale[1:]
    return np.asarray(np.divide(together, both, out=np.zeros_like(together), where=both > 0))
