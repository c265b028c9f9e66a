"""What may be known of other rows where a fold is forecast: labels from `label_end` on, returns from `horizon_end` on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quant_pipeline.bars.moments import to_microseconds
from quant_pipeline.config.experiment import SplitSettings
from quant_pipeline.ensemble.oof import Outcomes
from quant_pipeline.validation.purging import Windows, removed_by

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Known(NamedTuple):
    """Rows (n,) whose label, and whose returns, may be learned from. Returns are never known before the label."""

    labels: Mask
    returns: Mask


Gate = Callable[[Outcomes, Rows], Known]
"""From all outcomes and the row positions of one fold to what may be known there."""


def by_time(happened: Outcomes, rows: Rows) -> Known:
    """Earlier rows, by what was known before the fold's first decision: what live trading would have had."""
    first = happened.decision_at[rows[0]]
    earlier = np.arange(len(happened.label)) < rows[0]
    return Known(earlier & (happened.label_end < first), earlier & (happened.horizon_end < first))


def left_out(embargo: timedelta) -> Gate:
    """Rows on either side of the fold, purged of what overlaps it or comes within `embargo` of it."""

    def gate(happened: Outcomes, rows: Rows) -> Known:
        ends = happened.label_end, happened.horizon_end
        return Known(*(~removed_by([rows], Windows(happened.decision_at, end), embargo).either for end in ends))

    return gate


def before(until: datetime, gate: Gate) -> Gate:
    """`gate`, without what became known only at or after `until` (UTC)."""
    end = to_microseconds(until, "until")

    def sooner(happened: Outcomes, rows: Rows) -> Known:
        known = gate(happened, rows)
        return Known(known.labels & (happened.label_end < end), known.returns & (happened.horizon_end < end))

    return sooner


def gate_of(splits: SplitSettings) -> Gate:
    """`by_time` for walk-forward schemes; `left_out` for those whose models saw both sides of a fold anyway."""
    return by_time if splits.walk_forward else left_out(splits.embargo)
