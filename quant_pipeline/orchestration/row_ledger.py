"""What cleaning did to the rows of a symbol, kept beside the lake and told in a few lines: in `quant run` and in `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quant_pipeline.config.commands import command
from quant_pipeline.files import read_state, stands, write_state
from quant_pipeline.ledger import Ledger
from quant_pipeline.orchestration.house import House


def ledger_path(house: House, symbol: str) -> Path:
    """Where the ledger of the symbol's newest bars is."""
    return house.workplace.lake / "ledgers" / f"{symbol}.json"


def keep_ledger(house: House, symbol: str, ledger: Ledger) -> None:
    """Write down what cleaning did to the rows of `symbol`."""
    write_state(ledger_path(house, symbol), ledger.as_dict())


def ledger_lines(house: House, symbol: str) -> list[str]:
    """Rows in and out, dropped rows by reason with their share, and the notes worth reading; empty before the first bars."""
    path = ledger_path(house, symbol)
    if not stands(path):
        return []
    mend = "run: " + command(f"quant materialize 'bars/{house.experiment.primary}/{symbol}'")
    return read_state(path, mend, lambda told: [_rows(told), *_notes(told["notes"])])


def _rows(told: dict[str, Any]) -> str:
    rows_in, reasons = told["rows_in"], sorted(told["dropped"].items(), key=lambda each: -each[1])
    dropped = ", ".join(f"{reason} {rows:,} ({share(rows, rows_in)})" for reason, rows in reasons)
    return f"rows: {rows_in:,} in, {told['rows_out']:,} bars; dropped: {dropped or 'none'}"


def _notes(notes: dict[str, Any]) -> list[str]:
    volume, gaps, jumped = notes["volume"], notes["gaps"], notes["spikes"]["count"]
    lines = [f"volume {volume}"] if isinstance(volume, str) else []
    if isinstance(volume, dict) and volume["null"]:
        lines.append(f"volume not measured in {volume['null']:,} rows")
    if gaps["count"]:
        worst = gaps["longest"][0]
        longest = f"longest {worst['minutes']:,} min from {worst['start'][:16]}"
        lines.append(f"gaps: {gaps['count']:,}, {gaps['share']:.2%} of open minutes, {longest}")
    if jumped:
        lines.append(f"spikes: {jumped:,}, largest {notes['spikes']['largest'][0]['timestamp'][:16]}")
    if below := notes.get("below_zero"):
        lines.append(f"negative prices: {below['rows']:,} rows left out, {below['first'][:16]} to {below['last'][:16]}")
    lines += [f"adjusted from {each['date']} on: prices times {each['factor']:g}" for each in notes.get("adjusted", [])]
    return lines


def share(rows: int, of: int) -> str:
    """A share in percent that is never a rounded zero.

    Example:
        >>> share(139, 354_362), share(1, 1_000_000), share(3, 4)
        ('0.04%', '<0.01%', '75.00%')
    """
    value = rows / max(of, 1)
    return "<0.01%" if 0 < value < 0.00005 else f"{value:.2%}"  # noqa: PLR2004 - half of the last decimal shown
