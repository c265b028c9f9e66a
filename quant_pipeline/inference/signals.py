"""The signal, schema version 1, and the store that keeps each one once.

The JSON files are the record; the Parquet table beside them is derived, for queries, and is rebuilt when it lags:

    {root}/{symbol}/{YYYY}/{MM}/{YYYYMMDD}T{HHMM}Z.json      one signal, canonical bytes
    {root}/{symbol}/other/…-{hash}.json                      what was not accepted, or gave way
    {root}/{symbol}.parquet                                  all accepted signals of the symbol
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote

import polars as pl
import pydantic

from quant_pipeline.errors import DataError
from quant_pipeline.files import create, listed, locked, read_parquet, replacing, stands, write_parquet
from quant_pipeline.inference.seen import Moment, SeenBy

LOG = logging.getLogger(__name__)
Status = Literal["ok", "stale", "no_data", "no_model", "failed", "late"]
Written = Literal["written", "unchanged", "replaced", "conflict"]
Probability = Annotated[float, pydantic.Field(ge=0, le=1)]
Real = Annotated[float, pydantic.Field(allow_inf_nan=False)]
STEM = "%Y%m%dT%H%MZ"
"""How a decision moment names its file."""

_MEND = "restore the file from a backup, or delete it and emit the signal again"
_UTC = pl.Datetime("us", "UTC")
_DTYPES: dict[str, Any] = {
    "schema_version": pl.Int64, "symbol": pl.String, "as_of": _UTC, "decision_at": _UTC, "last_bar_at": _UTC, "entry_from": _UTC,
    "status": pl.String, "action": pl.Int64, "p_short": pl.Float64, "p_neutral": pl.Float64, "p_long": pl.Float64,
    "p_up": pl.Float64, "e_r": pl.Float64, "e_long": pl.Float64, "e_short": pl.Float64, "confidence": pl.Float64,
    "position_size": pl.Float64, "equity_share": pl.Float64, "reason": pl.String,
    "breakers": pl.List(pl.String), "fallback": pl.String,
    "bundle_id": pl.String, "data_hash": pl.String,
    "seen_by": pl.Struct({"bars": _UTC, "news": _UTC, "releases": _UTC}),
    "experiment": pl.String, "profile": pl.String, "simulated": pl.Boolean,
}  # fmt: skip


class Signal(pydantic.BaseModel):
    """What the pipeline says of one symbol at one decision moment.

    Attributes:
        as_of: the decision moment: the scheduled close of a primary bar. With `symbol` it is the signal's identity.
        decision_at: close of the newest primary bar there was; equal to `as_of` unless bars are late.
        last_bar_at: close of the newest minute bar that was used; staleness is counted from it.
        entry_from: open of the next primary bar, where the trade is filled (null: the calendar does not say).
        status: ok; stale (bars too old), no_data, no_model, failed or late (missed, and made up), all of which say 0.
        action: 1 long, -1 short, 0 nothing; then `reason` says why.
        p_short, p_neutral, p_long: calibrated probabilities of the three barriers; p_up: long given a move.
        e_r: expected gross return to the vertical barrier; e_long, e_short: expected net return of each side.
        confidence: probability of the better side: p_long or p_short.
        position_size: in units of the base position, 0 when action is 0; equity_share: its notional as a share of equity.
        breakers: circuit breakers that had triggered.
        fallback: the model that answered in place of the ensemble, null when all of it did.
        data_hash: of the raw bars in the window that was read.
        seen_by: up to which arrivals the stores were read; a replay reads the same. Two signals that differ in nothing else
            are the same signal. Null when the bars came from no store.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    symbol: str
    as_of: Moment
    decision_at: Moment | None = None
    last_bar_at: Moment | None = None
    entry_from: Moment | None = None
    status: Status
    action: Literal[-1, 0, 1] = 0
    p_short: Probability | None = None
    p_neutral: Probability | None = None
    p_long: Probability | None = None
    p_up: Probability | None = None
    e_r: Real | None = None
    e_long: Real | None = None
    e_short: Real | None = None
    confidence: Probability | None = None
    position_size: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    equity_share: Probability = 0.0
    reason: str
    breakers: tuple[str, ...] = ()
    fallback: str | None = None
    bundle_id: str | None = None
    data_hash: str | None = None
    seen_by: SeenBy | None = None
    experiment: str
    profile: str
    simulated: bool

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.action and self.status != "ok":
            raise ValueError(f"action {self.action} with status {self.status!r}; only an ok signal acts")
        if bool(self.action) != bool(self.position_size):
            raise ValueError(f"action {self.action} with position_size {self.position_size}")
        return self

    def says(self, other: Signal) -> bool:
        """Whether this signal is `other`, but for when its inputs had been seen."""
        return self.model_copy(update={"seen_by": other.seen_by}).canonical() == other.canonical()

    def canonical(self) -> bytes:
        """The signal's one JSON form: sorted keys, floats in full (repr), a newline at the end."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, allow_nan=False, separators=(", ", ": ")).encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Signal:
        """Read canonical bytes; raises `DataError` naming `where` for anything that is not a signal of this schema."""
        try:
            return cls.model_validate_json(content)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            found = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise DataError(where, found=found, wanted="a signal, schema version 1", mend=_MEND) from None


class SignalStore:
    """Signals under one folder, written once per (symbol, decision moment), safe against kills and parallel writers."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, signal: Signal) -> Written:
        """Keep `signal`, and bring its symbol's table up to date.

        Returns:
            "written"; "unchanged" when the same signal is there; "replaced" when an ok signal took the place of
            one that said nothing (stale, no_data, no_model, failed); else "conflict": what was emitted first stands, and
            so does `late`. What was replaced or refused is kept under `other/` and logged, never lost.
        """
        return self.write_all(signal.symbol, [signal])[0]

    def write_all(self, symbol: str, signals: Sequence[Signal]) -> list[Written]:
        """Keep each of the `signals` of `symbol` as `write` does, and bring its table up to date once."""
        outcomes = [self._put(self._path(signal), signal, signal.canonical()) for signal in signals]
        if set(outcomes) - {"conflict"}:
            told = zip(signals, outcomes, strict=True)
            self._sync(symbol, [self._path(signal) for signal, outcome in told if outcome == "replaced"])
        return outcomes

    def read(self, symbol: str, start: datetime | None = None, end: datetime | None = None) -> list[Signal]:
        """Signals with start <= as_of <= end, oldest first, from the JSON files."""
        signals = map(_load, self._files(symbol, start, end))
        return [signal for signal in signals if (start is None or signal.as_of >= start) and (end is None or signal.as_of <= end)]

    def moments(self, symbol: str) -> set[datetime]:
        """The decision moments that have a signal, by the names of their files."""
        return {datetime.strptime(path.stem, STEM).replace(tzinfo=UTC) for path in self._files(symbol, None, None)}

    def latest(self, symbol: str, by: datetime | None = None) -> Signal | None:
        """The newest signal with `as_of` <= `by`, by default now: a clock that was wrong once hides nothing."""
        limit = by or datetime.now(UTC)
        newest_first = map(_load, reversed(self._files(symbol, None, limit)))
        return next((signal for signal in newest_first if signal.as_of <= limit), None)

    def table(self, symbol: str) -> pl.DataFrame:
        """All signals of `symbol` as a table, one column per field, sorted by as_of; brought up to date first."""
        return self._sync(symbol) if stands(self._folder(symbol)) else pl.DataFrame(schema=_DTYPES)

    def symbols(self) -> list[str]:
        """Symbols that have signals."""
        return sorted(unquote(folder.name) for folder in listed(self.root, "*") if folder.suffix != ".parquet")

    def _put(self, path: Path, signal: Signal, content: bytes) -> Written:
        if create(path, content):
            return "written"
        kept = _bytes(path)
        earlier = Signal.from_bytes(kept, str(path))
        if signal.says(earlier):
            return "unchanged"
        if signal.status == "ok" and earlier.status not in ("ok", "late"):
            self._set_aside(path, kept)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
            LOG.info("signal %s at %s: %s gave way to an ok signal", signal.symbol, signal.as_of, earlier.status)
            return "replaced"
        aside = self._set_aside(path, content)
        LOG.warning("signal %s at %s differs from the one emitted, which stands; kept as %s", signal.symbol, signal.as_of, aside)
        return "conflict"

    def _set_aside(self, path: Path, content: bytes) -> Path:
        aside = path.parents[2] / "other" / f"{path.stem}-{hashlib.sha256(content).hexdigest()[:12]}.json"
        create(aside, content)
        return aside

    def _path(self, signal: Signal) -> Path:
        return self._folder(signal.symbol) / f"{signal.as_of:%Y}" / f"{signal.as_of:%m}" / f"{signal.as_of:{STEM}}.json"

    def _folder(self, symbol: str) -> Path:
        return self.root / quote(symbol, safe="^=+")

    def _table_path(self, symbol: str) -> Path:
        return self._folder(symbol).with_name(f"{self._folder(symbol).name}.parquet")

    def _files(self, symbol: str, start: datetime | None, end: datetime | None) -> list[Path]:
        first, last = (f"{at:{STEM}}" if at else limit for at, limit in ((start, ""), (end, "~")))
        years = listed(self._folder(symbol), "[0-9][0-9][0-9][0-9]")
        months = [month for year in years for month in listed(year, "[0-9][0-9]")]
        found = [path for month in months for path in listed(month, "[0-9]*Z.json")]
        return sorted((path for path in found if first <= path.stem <= last), key=lambda path: path.stem)

    def _sync(self, symbol: str, changed: Collection[Path] = ()) -> pl.DataFrame:
        """The table of `symbol`, first rewritten when files are missing from it, are newer than it, or `changed`."""
        path = self._table_path(symbol)
        with locked(self._folder(symbol) / ".lock"):
            table = _kept(path)
            written_at = path.stat().st_mtime_ns if table.height else 0
            known = set(table["as_of"].dt.strftime(STEM))
            files = self._files(symbol, None, None)
            late = [
                file for file in files
                if file in changed or file.stem not in known or not file.is_file() or file.stat().st_mtime_ns >= written_at
            ]  # fmt: skip
            if late:
                rows = pl.DataFrame([_load(file).model_dump() for file in late], schema=_DTYPES)
                table = pl.concat([table, rows]).unique("as_of", keep="last").sort("as_of")
                write_parquet(path, table)
        return table


def _kept(path: Path) -> pl.DataFrame:
    """The derived table; empty, so that it is made again from the JSON files, when there is none or it is damaged."""
    try:
        return read_parquet(path, "nothing", schema=pl.Schema(_DTYPES)) if stands(path) else pl.DataFrame(schema=_DTYPES)
    except DataError as error:
        LOG.warning("%s: %s; it is made again from the signals beside it", path, error.found)
        return pl.DataFrame(schema=_DTYPES)


def _load(path: Path) -> Signal:
    """The signal of a file; raises `DataError` for one of another symbol or moment than its place says."""
    signal, folder = Signal.from_bytes(_bytes(path), str(path)), path.parents[2].name
    place = (unquote(folder), path.stem)
    if (signal.symbol, f"{signal.as_of:{STEM}}") != place:
        raise DataError(
            str(path), found=f"the signal of {signal.symbol} at {signal.as_of:{STEM}}", wanted=f"that of {' at '.join(place)}",
            mend=_MEND,
        )  # fmt: skip
    return signal


def _bytes(path: Path) -> bytes:
    """Bytes of a signal's file; none of a folder or a link to nothing in its place, which is then told as damage."""
    return path.read_bytes() if path.is_file() else b""
