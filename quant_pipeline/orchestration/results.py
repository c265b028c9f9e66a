"""What every asset returns: its value, a data version, and metadata a person would want to see."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg
import polars as pl

from quant_pipeline.files import frame_hash
from quant_pipeline.ledger import Ledger
from quant_pipeline.orchestration.sketches import sketch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# at run time Dagster wants the bare class where an asset has checks
if TYPE_CHECKING:
    Result: TypeAlias = dg.MaterializeResult[Any]
else:
    Result = dg.MaterializeResult
PREVIEW_ROWS = 6


def table_result(
    frame: pl.DataFrame,
    *,
    key: Sequence[str] | None = None,
    ledger: Ledger | None = None,
    time: str | None = None,
    figure: Figure | None = None,
    checks: Sequence[dg.AssetCheckResult] = (),
    extra: dict[str, Any] | None = None,
) -> Result:
    """The frame with its picture, rows, figures of its own, date span of column `time`, dropped rows by reason, hash, preview."""
    digest = frame_hash(frame)
    metadata: dict[str, Any] = pictures(figure) if figure else {}
    metadata |= {"dagster/row_count": frame.height, **(extra or {}), "columns": frame.width, "hash": digest[:16]}
    if time and frame.height:
        metadata |= {"first": str(frame[time].min()), "last": str(frame[time].max())}
    if ledger:
        metadata |= ledger_metadata(ledger)
    metadata["preview"] = dg.MetadataValue.md(markdown_table(frame.tail(PREVIEW_ROWS)))
    return dg.MaterializeResult(
        asset_key=list(key) if key else None,
        value=frame,
        data_version=dg.DataVersion(digest),
        metadata=metadata,
        check_results=checks,
    )


def ledger_metadata(ledger: Ledger) -> dict[str, Any]:
    """Rows in and out, and the whole ledger as JSON."""
    return {
        "rows_in": ledger.rows_in,
        "rows_dropped": sum(ledger.dropped.values()),
        "ledger": dg.MetadataValue.json(ledger.as_dict()),
    }


def pictures(figure: Figure) -> dict[str, dg.MarkdownMetadataValue]:
    """A matplotlib figure as a sketch, which the UI shows at once, and as a PNG, which takes a click."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    return {"picture": dg.MetadataValue.md(sketch(figure)), "picture_in_full": png_picture(buffer.getvalue())}


def markdown_table(frame: pl.DataFrame, columns: int = 12) -> str:
    """The first `columns` columns as a Markdown table."""
    shown = frame.select(frame.columns[:columns])
    head = f"| {' | '.join(shown.columns)} |\n|{'---|' * shown.width}"
    rows = [f"| {' | '.join(_cell(value) for value in row)} |" for row in shown.iter_rows()]
    return "\n".join([head, *rows])


def _cell(value: object) -> str:
    if isinstance(value, list | dict):
        return ", ".join(map(_cell, value))
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    # a bar or a line break in a text would end its cell
    return f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).replace("|", "\\|").split())


def png_picture(png: bytes) -> dg.MarkdownMetadataValue:
    """PNG bytes as an inline picture."""
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")
