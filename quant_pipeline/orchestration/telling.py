"""What the sensors tell a person of signals and drift; of runs see `run_troubles.py`.

Here is what counts as a trouble and as its end. Not here: what the messages say (`monitoring/alerts.py`), and that each goes
out once (`monitoring/troubles.py`, `monitoring/alert_ledger.py`).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import dagster as dg
import polars as pl

from quant_pipeline.errors import QuantError
from quant_pipeline.files import read_parquet, stands
from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.monitoring.alerts import drift_message, failure_message, signal_message
from quant_pipeline.monitoring.telegram import TelegramClient, from_environment
from quant_pipeline.monitoring.troubles import Trouble, TroubleBook, alike
from quant_pipeline.orchestration.remaking import retrain

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import LabelSettings
    from quant_pipeline.inference.plan import TradePlan
    from quant_pipeline.inference.signals import Signal
    from quant_pipeline.orchestration.house import House

LOG = logging.getLogger(__name__)
BACK = timedelta(days=8)  # of signals: an hour that was missed is made up a week later at most


@dataclass(frozen=True)
class Teller:
    """The house whose troubles are told, where they are kept, and who delivers them (nobody: the log)."""

    house: House
    book: TroubleBook
    client: TelegramClient | None
    now: datetime

    @classmethod
    def of(cls, house: House) -> Self:
        """The teller of this moment, with Telegram as the environment names it."""
        book = TroubleBook(AlertLedger(house.workplace.alerts))
        return cls(house, book, from_environment(os.environ), datetime.now(UTC))

    def note(self, trouble: Trouble) -> None:
        """See `TroubleBook.note`."""
        self.book.note(trouble, self.now)

    def end(self, scope: str, at: datetime) -> None:
        """See `TroubleBook.end`."""
        self.book.end(scope, at, self.now)

    def flush(self) -> list[str]:
        """Deliver all that waits; returns what happened, in words."""
        return self.book.ledger.flush(self.client, now=self.now)


def tell_signals(teller: Teller) -> None:
    """The newest signal of each symbol where it is one to send, each row that is not `ok`, and the end of such rows."""
    now = teller.house.workplace.now()
    for symbol in teller.house.universe.symbols:
        scope = f"reading/{symbol}"
        try:
            _tell_symbol(teller, symbol, now)
            teller.end(scope, now)
        except QuantError as error:
            text = failure_message(f"{symbol}: signals cannot be read", "new_signal_alert", "", str(error))
            kind = alike(str(error))
            teller.note(Trouble(f"{scope}/{now}", scope, kind, "unreadable", f"{symbol} signals cannot be read", text, now))


def _tell_symbol(teller: Teller, symbol: str, now: datetime) -> None:
    rows = teller.house.signals.table(symbol).filter(pl.col("as_of").is_between(now - BACK, now))
    silent = rows.filter(pl.col("status") != "ok")
    keys = {f"signal/{symbol}/{at.isoformat()}/{status}": at for at, status in silent.select("as_of", "status").iter_rows()}
    fresh = teller.book.unheard(keys)
    for key, at in keys.items():
        if key in fresh:
            teller.note(_silence(key, teller.house.signals.read(symbol, at, at)[0]))
    if rows.height and rows["status"][-1] == "ok":
        teller.end(_signals_of(symbol), now)
        _send(teller, teller.house.signals.read(symbol, rows["as_of"][-1], now)[0])


def _silence(key: str, signal: Signal) -> Trouble:
    kind = f"failed: {alike(signal.reason)}" if signal.status == "failed" else signal.status
    thing = f"{signal.symbol} signals"
    return Trouble(key, _signals_of(signal.symbol), kind, signal.status, thing, signal_message(signal), signal.as_of)


def _signals_of(symbol: str) -> str:
    return f"signal/{symbol}"


def _send(teller: Teller, signal: Signal) -> None:
    key = f"signal/{signal.symbol}/{signal.as_of.isoformat()}"
    wanted = teller.house.experiment.signal.alert == "all" or signal.action
    if wanted and teller.book.unheard([key]):
        teller.book.ledger.keep(key, signal_message(signal, _plan(teller.house, signal)), now=teller.now)
        teller.book.hear(key)


def _plan(house: House, signal: Signal) -> TradePlan | None:
    """The prices of a signal that acts; a signal whose prices cannot be made again is told without them."""
    from quant_pipeline.inference.plan import trade_plan

    try:
        return trade_plan(house.desk(), signal, _barriers(house, signal.symbol)) if signal.action else None
    except QuantError as error:
        LOG.warning("signal of %s at %s is told without prices: %s", signal.symbol, signal.as_of, error)
        return None


def _barriers(house: House, symbol: str) -> LabelSettings:
    """The barriers that labels used: as they were tuned, else as the experiment says."""
    path = house.workplace.lake / "barriers" / f"{symbol}.parquet"
    if not stands(path):
        return house.experiment.labels
    (tuned,) = read_parquet(path, retrain(symbol)).to_dicts()
    return house.experiment.labels.model_copy(update=tuned)


@dataclass(frozen=True)
class DriftReport:
    """What the newest drift report of `symbol` said; `id` tells it from every other."""

    symbol: str
    id: int
    at: datetime
    retrain: bool
    reason: str
    share: float

    @classmethod
    def newest(cls, instance: dg.DagsterInstance, symbol: str) -> Self | None:
        """The newest report; None before the first."""
        drift = dg.AssetRecordsFilter(asset_key=dg.AssetKey("drift_report"), asset_partitions=[symbol])
        for record in instance.fetch_materializations(drift, limit=1).records:
            if record.asset_materialization:
                told = {name: value.value for name, value in record.asset_materialization.metadata.items()}
                at, share = datetime.fromtimestamp(record.timestamp, UTC), float(str(told.get("drifted_share", 0.0)))
                return cls(symbol, record.storage_id, at, bool(told["retrain"]), str(told["reason"]), share)
        return None


def tell_drift(teller: Teller, report: DriftReport) -> None:
    """A drift alarm of the report, with its reason and whether a retraining follows; a calm one is the end of alarms."""
    scope, house = f"drift/{report.symbol}", teller.house
    if not report.retrain and report.share < house.experiment.drift.share:
        teller.end(scope, report.at)
        return
    kind, label = (f"retraining {report.id}", "retraining") if report.retrain else ("alarm", "alarm")
    text = drift_message(report.symbol, report.reason, retrain=report.retrain, simulated=house.source.simulated)
    teller.note(Trouble(f"{scope}/{report.id}", scope, kind, label, f"{report.symbol} drift", text, report.at))
