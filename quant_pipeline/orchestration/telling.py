"""What the sensors tell a person: signals, failed runs, outages of sources and drift, each once, and the end of each trouble.

Here is what counts as a trouble and as its end. Not here: what the messages say (`monitoring/alerts.py`), and that each goes
out once (`monitoring/troubles.py`, `monitoring/alert_ledger.py`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
import polars as pl

from quant_pipeline.errors import QuantError
from quant_pipeline.files import read_parquet
from quant_pipeline.monitoring.alert_ledger import AlertLedger
from quant_pipeline.monitoring.alerts import drift_message, failure_message, outage_message, signal_message
from quant_pipeline.monitoring.telegram import TelegramClient, from_environment
from quant_pipeline.monitoring.troubles import Trouble, TroubleBook, alike

if TYPE_CHECKING:
    from dagster._core.events import DagsterEvent

    from quant_pipeline.config.experiment import LabelSettings
    from quant_pipeline.inference.plan import TradePlan
    from quant_pipeline.inference.signals import Signal
    from quant_pipeline.orchestration.house import House

LOG = logging.getLogger(__name__)
BACK = timedelta(days=8)  # of signals: an hour that was missed is made up a week later at most
RUNS_BACK, OVERLAP = timedelta(days=1), timedelta(minutes=1)  # of runs: at the first look, and at each for late commits
TOLD = {
    dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.RUN_FAILURE,
}  # fmt: skip
OUR_ERRORS = "quant_pipeline.errors."


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
    if not path.exists():
        return house.experiment.labels
    (tuned,) = read_parquet(path, f"run: quant train {symbol}").to_dicts()
    return house.experiment.labels.model_copy(update=tuned)


def tell_runs(teller: Teller, instance: dg.DagsterInstance, since: datetime | None) -> datetime | None:
    """What runs that ended after `since` (None: within a day) say of failures, outages and their ends.

    Returns the moment up to which runs were told, `since` when there is no newer one.
    """
    after = (since or teller.now - RUNS_BACK) - OVERLAP
    ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE], updated_after=after)
    records = instance.get_run_records(ended, order_by="update_timestamp", ascending=True)
    fresh = teller.book.unheard([f"run/{record.dagster_run.run_id}" for record in records])
    for record in records:
        key = f"run/{record.dagster_run.run_id}"
        if key in fresh:
            _tell_run(teller, instance, record)
            teller.book.hear(key)
    return records[-1].update_timestamp if records else since


def _tell_run(teller: Teller, instance: dg.DagsterInstance, record: dg.RunRecord) -> None:
    run = _Run(record)
    entries = instance.all_logs(run.id, of_type=TOLD)
    events = [(datetime.fromtimestamp(entry.timestamp, UTC), entry.dagster_event) for entry in entries if entry.dagster_event]
    failed = any(event.is_step_failure for _, event in events)
    told = run.failed and _told_by_another(instance, record)
    for at, event in events:
        if event.is_step_success:
            teller.end(run.scope(event.step_key), at)
        elif event.is_step_materialization:
            _tell_outage(teller, run, event, at)
        elif not told and (event.is_step_failure or not failed):
            teller.note(run.failure(event, at))
    if not run.failed:
        teller.end(run.scope(None), record.update_timestamp)


@dataclass(frozen=True)
class _Run:
    """A run that ended, as its troubles are told."""

    record: dg.RunRecord

    @property
    def id(self) -> str:
        return self.record.dagster_run.run_id

    @property
    def job(self) -> str:
        return self.record.dagster_run.job_name

    @property
    def failed(self) -> bool:
        return self.record.dagster_run.status == dg.DagsterRunStatus.FAILURE

    @property
    def partition(self) -> str:
        tags = self.record.dagster_run.tags
        return tags.get("dagster/partition") or tags.get("quant/symbol") or ""

    def scope(self, step: str | None) -> str:
        """Of a step, in whichever job it runs, or of the whole job where no step is to blame."""
        return f"run/{self.partition}/{step or self.job}"

    def failure(self, event: DagsterEvent, at: datetime) -> Trouble:
        thing = f"{self.partition} {event.step_key or self.job}".strip()
        reason = _reason(event)
        text = failure_message(thing, self.job, self.id, reason)
        scope = self.scope(event.step_key)
        return Trouble(f"{scope}/{self.id}", scope, alike(reason), "failed", thing, text, at)


def _reason(event: DagsterEvent) -> str:
    """What a failed step or run itself said, without Dagster's words around it."""
    error = event.step_failure_data.error if event.is_step_failure else None
    if error is None:
        return event.message or ""
    said: str = (error.cause or error).message.strip()
    return said.partition(": ")[2] if said.startswith(OUR_ERRORS) else said


def _told_by_another(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    """Whether `record` is of a training one of whose own runs failed: that one tells the reason."""
    if record.dagster_run.job_name != "train_symbol":
        return False
    own = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], tags={"quant/symbol": record.dagster_run.tags.get("dagster/partition", "")},
        created_after=record.create_timestamp, updated_before=record.update_timestamp,
    )  # fmt: skip
    return bool(instance.get_run_records(own, limit=1))


def _tell_outage(teller: Teller, run: _Run, event: DagsterEvent, at: datetime) -> None:
    made = event.step_materialization_data.materialization
    if "ledger" not in made.metadata:
        return
    ledger: Any = made.metadata["ledger"].value
    problems = list(_problems(ledger["notes"]))
    thing = f"{made.partition or ''} {made.asset_key.to_user_string()}".strip()
    scope = f"outage/{thing}"
    if problems:
        trouble = Trouble(f"{scope}/{run.id}", scope, "outage", "outage", thing, outage_message(thing, problems), at)
        teller.note(trouble)
    else:
        teller.end(scope, at)


def _problems(notes: dict[str, Any]) -> Iterator[str]:
    """What did not come, as the ledger's notes tell it: why a source was `down`, one reason or one a name, and `problems`."""
    down = notes.get("down") or []
    told = [f"{name}: {why}" for name, why in sorted(down.items())] if isinstance(down, dict) else [down] if down else []
    yield from told
    if notes.get("partial"):
        yield from (problem for problem in notes["problems"] if problem not in told)


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
                at, share = datetime.fromtimestamp(record.timestamp, UTC), float(str(told.get("share", 0.0)))
                return cls(symbol, record.storage_id, at, bool(told["retrain"]), str(told["reason"]), share)
        return None


def tell_drift(teller: Teller, report: DriftReport) -> None:
    """A drift alarm of the report, with its reason and whether a retraining follows; a calm one is the end of alarms."""
    scope, house = f"drift/{report.symbol}", teller.house
    if not report.retrain and report.share < house.experiment.drift.share:
        teller.end(scope, report.at)
        return
    kind, label = (f"retraining {report.id}", "retraining") if report.retrain else ("alarm", "alarm")
    simulated = house.workplace.profile == "simulated"
    text = drift_message(report.symbol, report.reason, retrain=report.retrain, simulated=simulated)
    teller.note(Trouble(f"{scope}/{report.id}", scope, kind, label, f"{report.symbol} drift", text, report.at))
