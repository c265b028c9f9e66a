"""Rows as a table for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table


def table(rows: list[dict[str, Any]], title: str) -> Table:
    """One column per key of the first row, no narrower than its words; rows whose cells hold several lines are ruled off."""
    tall = any("\n" in str(value) for row in rows for value in row.values())
    shown = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_lines=tall, pad_edge=False)
    for name in rows[0] if rows else ["nothing here"]:
        shown.add_column(name, min_width=max(map(len, name.split()), default=0))
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    return shown
