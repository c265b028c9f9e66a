"""The row ledger: rows in, rows dropped by reason, rows out, and notes on what was left as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DOWN = "down"
"""The note of why a source did not answer, of a step that went on without it."""


@dataclass
class Ledger:
    """What one step did to its rows. `notes` holds whatever a reader must know but no row was dropped for."""

    rows_in: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def rows_out(self) -> int:
        """Rows left: `rows_in` less every drop."""
        return self.rows_in - sum(self.dropped.values())

    def drop(self, reason: str, rows: int) -> None:
        """Add `rows` dropped rows under `reason`; zero adds nothing."""
        if rows:
            self.dropped[reason] = self.dropped.get(reason, 0) + rows

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready form: rows_in, dropped, rows_out, notes."""
        return {"rows_in": self.rows_in, "dropped": self.dropped, "rows_out": self.rows_out, "notes": self.notes}
