"""When too many rows were dropped to go on: a wrong zone, calendar or interval shows as a share of rows."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from quant_pipeline.config.cleaning import CleaningRules
from quant_pipeline.errors import DataError
from quant_pipeline.ledger import Ledger

OUTSIDE = "outside_session"
LIKELY = {
    "price_not_finite": "export the bars again without empty rows",
    "price_not_positive": "use unadjusted or ratio-adjusted bars: those adjusted by differences go below zero, and returns need "
    "prices above it",
    "high_below_low": "check which column is which (`files.columns`)",
    "negative_volume": "set `files.volume: absent` if nobody measured the volume",
    "off_the_minute": "bring bars of whole minutes: these have another interval",
    "outside_session": "check `calendar` and `files.timezone`, or leave extended hours out of the file",
    "conflicting": "bring one row a bar: the file may hold several symbols, contracts or venues",
}
"""The usual cause of each reason, as what to do about it."""


EXTENDED = 0.15
"""Share of rows up to which those outside the sessions may be extended hours, where the sessions themselves lack little. A week
of them is 8 % of a quarter; from here on the calendar is another market's: weekends alone are 29 % of one that never shuts."""


def refuse_conflicts(frame: pl.DataFrame, rules: CleaningRules, what: str) -> None:
    """Refuse BARS as they came when too many rows tell a bar that another row tells otherwise. Raises as `refuse_losses`.

    Asked before rows are stored: the store keeps one row a bar, and nobody could tell afterwards.
    """
    distinct = frame.unique()
    ledger = Ledger(rows_in=frame.height)
    ledger.drop("conflicting", distinct.height - distinct["timestamp"].n_unique())
    refuse_losses(ledger, rules, what)


def refuse_losses(ledger: Ledger, rules: CleaningRules, what: str, lacking: Callable[[], int] | None = None) -> None:
    """Refuse bars of which cleaning dropped a larger share than the symbol's limits allow, for any one reason.

    Args:
        ledger: of the cleaning.
        rules: the symbol and its limits; without limits nothing is refused.
        what: the bars' name in the error, such as "1m bars".
        lacking: bars that the sessions lack. Rows outside them, up to `EXTENDED`, count only where it is half as many: those
            of a wrong zone are missing inside, extended hours are not.

    Raises:
        DataError: names the reason, the share, the limit, the likely cause and the setting.
    """
    limits = rules.limits.model_dump() if rules.limits else {}
    shares = {reason: ledger.dropped.get(reason, 0) / max(ledger.rows_in, 1) for reason in limits}
    over = {reason: share for reason, share in shares.items() if share > limits[reason]}
    if lacking and over.get(OUTSIDE, 1.0) <= EXTENDED and 2 * lacking() < ledger.dropped[OUTSIDE]:
        del over[OUTSIDE]
    if not over:
        return
    reason = max(over, key=lambda name: over[name])
    raise DataError(
        f"{rules.symbol}: {what}",
        found=f"{ledger.dropped[reason]:,} of {ledger.rows_in:,} rows ({over[reason]:.1%}) dropped as {reason}",
        wanted=f"at most {limits[reason]:.1%}",
        mend=f"{LIKELY[reason]}; if it is right to drop them, raise `limits.{reason}` of {rules.symbol} in universe.yaml",
    )
