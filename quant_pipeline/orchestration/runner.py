"""One symbol from raw bars to a signal, in this process, through Dagster: what is fresh is reused, what is not is made.

A run may be stopped at any moment (Ctrl-C, kill -9, a power cut): every asset is whole or absent, so the next run goes on
where this one stopped. Two runs of the same symbol at once are refused.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import uuid4

import dagster as dg

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import QuantError, StorageError
from quant_pipeline.files import sweep
from quant_pipeline.orchestration.burial import bury_dead_runs
from quant_pipeline.orchestration.freshness import stale
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.moments import moment_tags
from quant_pipeline.orchestration.owners import owner_tags
from quant_pipeline.orchestration.partitions import fold_key
from quant_pipeline.orchestration.slots import symbol_tag

if TYPE_CHECKING:
    from quant_pipeline.orchestration.worker import Worker

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Stage:
    """Assets that one Dagster run makes: those of some groups in one partition.

    Attributes:
        only: names to which the groups are narrowed.
        without: names of theirs that another stage makes.
        always: whether it is made again however fresh it is.
        beside: whether it needs nothing of the stages that stand next to it and are so, too.
    """

    name: str
    groups: tuple[str, ...]
    partition: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    always: bool = False
    beside: bool = False

    def makes(self, key: dg.AssetKey, group: str) -> bool:
        """Whether the asset `key` of `group` is one of this stage."""
        name = key.to_user_string()
        return group in self.groups and name not in self.without and (not self.only or name in self.only)


@dataclass
class StageEvent:
    """What a progress view needs: a stage began (`run_id` set), was reused, or ended."""

    stage: Stage
    keys: Sequence[dg.AssetKey]
    run_id: str | None
    done: bool = False


@dataclass
class RunSummary:
    """What a run made and what it reused, by `key|partition`."""

    made: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Order:
    """A stage as it is made in this run: the assets that are stale, at the run's moment; no `run_id` where none is."""

    stage: Stage
    keys: Sequence[dg.AssetKey]
    run_id: str | None
    moment: Mapping[str, str]


Listener = Callable[[StageEvent], None]
PICTURES = ("feature_dictionary", "pattern_gallery")
"""Reports that say nothing of models, and are made beside them."""
FIGURES = ("backtest", "drift_report")
"""Reports that the skill report does not read, and that are made beside it."""
EARLY = "features"
"""With this stage the worker is started: the folds, which follow it, are stale then, and it takes seconds to come up."""


def stages(house: House, symbol: str, *, until: str = "signals") -> list[Stage]:
    """The stages of one symbol in order; `until` names the last one. Where nothing goes live, nothing can drift."""
    deploys = house.experiment.champion.auto or house.champions.live_at(symbol, house.workplace.now())
    folds = [
        Stage(f"train {fold}", ("preparation", "models"), fold_key(symbol, fold), beside=True)
        for fold in house.experiment.splits.fold_names
    ]
    plan = [
        Stage("ingest", ("ingest",), symbol, always=True),
        Stage("features", ("bars", "features", "labels", "splits"), symbol),
        Stage("pictures", ("reports",), symbol, only=PICTURES, beside=True),
        *folds,
        Stage("ensemble", ("ensemble", "deploy"), symbol),
        Stage("backtest", ("reports",), symbol, only=FIGURES if deploys else FIGURES[:1], beside=True),
        Stage("reports", ("reports",), symbol, without=(*PICTURES, *FIGURES), beside=True),
        Stage("signals", ("signals",), symbol, always=True),
    ]
    last = max(index for index, stage in enumerate(plan) if stage.name == until)
    return plan[: last + 1]


def side_by_side(plan: Sequence[Stage]) -> list[list[Stage]]:
    """The stages of `plan` in order, those that may be made beside each other together."""
    groups = groupby(enumerate(plan), lambda one: -1 if one[1].beside else one[0])
    return [[stage for _, stage in group] for _, group in groups]


class Runner:
    """Runs stages of a symbol against an instance.

    Args:
        defs: definitions of `house`.
        instance: where runs are recorded.
        house: whose symbols.
        listen: hears of every stage; two threads call it.
        worker: a second process, which takes stages off this one's hands where they stand beside each other.
        asked: tags that every run carries; see `origins`.
    """

    def __init__(
        self,
        defs: dg.Definitions,
        instance: dg.DagsterInstance,
        house: House,
        listen: Listener = lambda _: None,
        worker: Worker | None = None,
        asked: Mapping[str, str] | None = None,
    ) -> None:
        self.instance, self.house, self.listen, self.worker, self.asked = instance, house, listen, worker, asked or {}
        self.job = defs.resolve_implicit_global_asset_job_def()
        self.graph = defs.resolve_asset_graph()

    def run(self, symbol: str, *, until: str = "signals", force: bool = False, reason: str = "") -> RunSummary:
        """Make everything stale up to the stage `until`; raises the first error of an asset as it was raised.

        All stages work at one moment and with one training cutoff, fixed once the symbol's lock is held. A `reason` for
        retraining moves that cutoff up to the last full hour.
        """
        self.house.symbol(symbol)
        summary = RunSummary()
        with self.locked(symbol):
            bury_dead_runs(self.instance)
            place = self.house.workplace
            for folder in (place.shared, place.lake, place.bundles, place.reports):
                sweep(folder)
            moment = {**self.asked, **self._moment(symbol, reason)}
            for group in side_by_side(stages(self.house, symbol, until=until)):
                orders = [self._order(stage, summary, moment, force=force or stage.always) for stage in group]
                self._make_all(deque(orders), symbol)
        return summary

    def sizes(self, symbol: str, *, until: str = "signals") -> dict[str, int]:
        """How many assets each stage has, fresh or not."""
        return {stage.name: len(self._keys(stage)) for stage in stages(self.house, symbol, until=until)}

    def _keys(self, stage: Stage) -> list[dg.AssetKey]:
        return [key for key in self.graph.toposorted_asset_keys if stage.makes(key, self.graph.get(key).group_name)]

    def _moment(self, symbol: str, reason: str) -> dict[str, str]:
        """Tags that fix the clock and the training cutoff of all that follows; a `reason` moves the cutoff first."""
        house = self.house.at(self.house.workplace.now(), {})
        cutoff = house.move_cutoff(symbol, reason) if reason else house.cutoff(symbol)
        return moment_tags(house.at(house.workplace.now(), {symbol: cutoff}))

    def _order(self, stage: Stage, summary: RunSummary, moment: Mapping[str, str], *, force: bool) -> Order:
        keys = self._keys(stage)
        chosen = keys if force else stale(self.house, self.instance, self.graph, keys, stage.partition)
        summary.reused += [f"{key.to_user_string()}|{stage.partition}" for key in keys if key not in chosen]
        summary.made += [f"{key.to_user_string()}|{stage.partition}" for key in chosen]
        return Order(stage, chosen or keys, str(uuid4()) if chosen else None, moment)

    def _make_all(self, orders: deque[Order], symbol: str) -> None:
        """Make all `orders`, two at a time where there is a worker and anything for it to do."""
        waiting = [order.stage for order in orders if order.run_id]
        if self.worker and (len(waiting) > 1 or EARLY in [stage.name for stage in waiting]):
            self.worker.start(symbol)
        if self.worker and len(waiting) > 1:
            self._make_beside(orders, self.worker)
        while orders:
            self._make(orders.popleft(), self.materialize)

    def _make_beside(self, orders: deque[Order], worker: Worker) -> None:
        """Make `orders` from both ends, the longest folds first; what the worker could not make is left in them."""
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(self._drain, orders.popleft, worker.materialize)
            try:
                self._drain(orders.pop, self.materialize)
                orders.extend(other.result())
            except BaseException:
                orders.clear()
                worker.stop()
                bury_dead_runs(self.instance)
                raise

    def _drain(self, take: Callable[[], Order], materialize: Callable[..., bool]) -> list[Order]:
        """Make orders until none is left to take, or one could not be made: that one is returned."""
        with suppress(IndexError):
            while self._make(order := take(), materialize):
                pass
            return [order]
        return []

    def _make(self, order: Order, materialize: Callable[..., bool]) -> bool:
        stage, keys, run_id = order.stage, order.keys, order.run_id
        self.listen(StageEvent(stage, keys, run_id))
        made = run_id is None or materialize(keys, stage.partition, run_id, order.moment)
        if made:
            self.listen(StageEvent(stage, keys, run_id, done=True))
        return made

    def materialize(
        self,
        keys: Sequence[dg.AssetKey],
        partition: str | None,
        run_id: str | None = None,
        moment: Mapping[str, str] | None = None,
    ) -> bool:
        """One in-process Dagster run of `keys`, True when it is done; the error of a failed step is raised as it was.

        For `moment` see `moment_tags`.
        """
        partitioned = any(self.graph.get(key).is_partitioned for key in keys)
        try:
            self.job.execute_in_process(
                instance=self.instance,
                partition_key=partition if partitioned else None,
                asset_selection=list(keys),
                run_id=run_id,
                tags={**owner_tags(), **symbol_tag(partition), **self.asked, **(moment or {})},
                run_config=QUIET,
            )
        except dg.DagsterExecutionStepExecutionError as error:
            if not isinstance(error.user_exception, QuantError):
                raise
            raise error.user_exception from error.user_exception.__cause__
        return True

    @contextmanager
    def locked(self, symbol: str) -> Iterator[None]:
        """Hold the symbol's lock; the system frees it when the process ends, however it ends."""
        path = self.house.workplace.lake / ".locks" / symbol
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                raise StorageError(
                    f"run of {symbol}",
                    found=f"another run (process {handle.read() or 'unknown'})",
                    wanted="one run a symbol at a time",
                    mend="wait for it or stop it",
                ) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield


def fold_partitions(house: House, symbol: str) -> list[str]:
    """Partition keys of every fold of a symbol, the holdout last."""
    return sorted((fold_key(symbol, fold) for fold in house.experiment.splits.fold_names), key=lambda key: key.endswith(HOLDOUT))
