"""Many intervals looked at together: how wide each has to be, and whether any of a family is beyond chance."""

from __future__ import annotations

import numpy as np
import polars as pl

from quant_pipeline.validation.bootstrap import reach
from quant_pipeline.validation.skill import METRICS

DIRECTIONAL = tuple(name for name, metric in METRICS.items() if metric.directional)


def widened(table: pl.DataFrame, looks: pl.Expr, level: float) -> pl.DataFrame:
    """The table with each interval as wide as it must be to hold `level` together with all that share it.

    Args:
        table: of `SCHEMA`, its intervals as its column `looks` tells.
        looks: how many intervals share the level of each row; never fewer than the table tells.
        level: what the table's intervals were made for.
    """
    more = pl.max_horizontal(looks, "looks").cast(pl.Int64).alias("looks")
    wanted = table.select(more)["looks"].to_numpy()
    blocks = table["blocks"].fill_null(np.nan).to_numpy()
    factor = reach(level, blocks, wanted) / reach(level, blocks, table["looks"].to_numpy())
    farther = pl.Series("farther", np.where(wanted == table["looks"].to_numpy(), 1.0, factor))
    ends = [
        (pl.col(value) + (pl.col(end) - pl.col(value)) * farther).alias(end)
        for value, pair in (("value", ("low", "high")), ("share_of_reachable", ("share_low", "share_high")))
        for end in pair
    ]
    return table.with_columns(*ends, more).with_columns(pl.col(pl.Float64).fill_nan(None))


def beyond_chance(table: pl.DataFrame, *, level: float = 0.95, metrics: tuple[str, ...] = DIRECTIONAL) -> pl.DataFrame:
    """Rows of models that differ from chance although the whole family of tests is held to `level` (Bonferroni).

    The family is every model, fold and metric of `table` that is tested. Two-sided metrics are tested on both sides, the
    others only on the side of skill, since a model that fits noise is rightly worse than chance there; and note that
    telling calm hours from wild ones is real skill by those that are not directional, also on a market without direction.

    Returns:
        The offending rows with `p_value` (Student's t on the bootstrap standard error, blocks - 1 degrees of freedom)
        and `threshold`; empty when all cover chance.
    """
    from scipy.stats import t

    tested = table.filter((pl.col("kind") == "model") & pl.col("metric").is_in(metrics)).drop_nulls(["error", "chance"])
    side = tested["metric"].map_elements(lambda name: 1 if METRICS[name].better == "high" else -1, return_dtype=pl.Int64)
    both = tested["metric"].map_elements(lambda name: METRICS[name].two_sided, return_dtype=pl.Boolean).to_numpy()
    z = ((tested["value"] - tested["chance"]) / tested["error"] * side).fill_nan(0.0).to_numpy()
    freedom = (tested["blocks"] - 1).to_numpy()
    p_value = np.where(both, 2 * t.sf(np.abs(z), freedom), t.sf(z, freedom))
    scored = tested.with_columns(p_value=pl.Series(p_value), threshold=pl.lit((1 - level) / max(tested.height, 1)))
    return scored.filter(pl.col("p_value") < pl.col("threshold"))


def covers_chance(table: pl.DataFrame, *, level: float = 0.95, metrics: tuple[str, ...] = DIRECTIONAL) -> bool:
    """Whether no model, fold and metric differs from chance at the family-wise `level`; see `beyond_chance`."""
    return beyond_chance(table, level=level, metrics=metrics).is_empty()
