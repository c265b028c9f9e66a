"""The live view of `quant run`: a line for all of it, with the time left, and one a stage, with the asset that is being made.

Where nobody watches a screen (a pipe, a log) every stage that ended is one plain line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from quant_pipeline import jit
from quant_pipeline.files import refused_by_disk
from quant_pipeline.orchestration.remaining import Compiling, Remaining
from quant_pipeline.orchestration.runner import StageEvent
from quant_pipeline.orchestration.slots import WAITS

POLL_SECONDS = 0.4
BEGUN, FINISHED = dg.DagsterEventType.STEP_START, dg.DagsterEventType.ASSET_MATERIALIZATION
TOLD = dg.DagsterEventType.ENGINE_EVENT
FOLLOWED = {BEGUN, FINISHED, TOLD}
REUSED, COMPILES = "reused", "compiling kernels (first run only)"


class ProgressView:
    """A Rich progress display that a `Runner` feeds through `listen` and that polls the instance for finished steps.

    Args:
        instance: where runs are recorded.
        console: on the terminal itself; of another file, it gets the plain lines.
        sizes: how many assets each stage has, by its name; those that turn out to be fresh are not counted in the first line.
    """

    def __init__(self, instance: dg.DagsterInstance, console: Console, sizes: Mapping[str, int]) -> None:
        self.instance = instance
        self.progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[now]}", table_column=Column()),  # of more than one line where the screen is narrow
            console=console,
            disable=not console.is_terminal,
        )
        self._whole = self.progress.add_task("all", total=sum(sizes.values()), now="")
        self._left, self._remaining, self._compiling = dict(sizes), Remaining(), Compiling(jit.KERNELS)
        self._tasks: dict[str, TaskID] = {}
        self._stops: dict[str, threading.Event] = {}
        self._begun: dict[str, float] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.progress.start()
        threading.Thread(target=self._tell_time, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for stop in (*self._stops.values(), self._ended):
            stop.set()
        self._show_whole()
        self.progress.stop()

    def listen(self, event: StageEvent) -> None:
        """Called by the runner when a stage begins or ends."""
        name = event.stage.name
        if event.done:
            self._stops[name].set()
            self.progress.update(self._tasks[name], completed=len(event.keys), now=REUSED if event.run_id is None else "")
            self._tell_ended(event)
            return
        self._begun[name] = time.monotonic()
        self._left[name] = len(event.keys) if event.run_id else 0
        self._tasks[name] = self.progress.add_task(name, total=len(event.keys), now="")
        self._stops[name] = stop = threading.Event()
        if event.run_id:
            threading.Thread(target=self._follow, args=(event.run_id, self._tasks[name], stop), daemon=True).start()

    def _tell_ended(self, event: StageEvent) -> None:
        if self.progress.disable:
            name, count = event.stage.name, len(event.keys)
            seconds = time.monotonic() - self._begun[name]
            told = f"{count} made in {seconds:.0f} s" if event.run_id else f"{count} {REUSED}"
            self.progress.console.print(f"{name}: {told}", markup=False, highlight=False, soft_wrap=True)

    def _tell_time(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self._show_whole()

    def _show_whole(self) -> None:
        """Bring the first line up to date: what is made of all that has to be, the time left, kernels that are compiled."""
        total = sum(self._left.values())
        made = int(sum(task.completed for task in self.progress.tasks if task.fields["now"] != REUSED and task.id != self._whole))
        compiling = made < total and self._compiling.now()
        now = COMPILES if compiling else self._remaining.told(made, total)
        self.progress.update(self._whole, completed=made, total=total, now=now)

    def _follow(self, run_id: str, task: TaskID, stop: threading.Event) -> None:
        made, now, cursor = 0, "", None
        while not stop.wait(POLL_SECONDS):
            try:
                # only what is new: materializations carry pictures, and reading them all again each time slows the run down
                told = self.instance.get_records_for_run(run_id, cursor, of_type=FOLLOWED)
            except Exception as error:
                if refused_by_disk(error) is None:
                    raise
                return  # the run meets the same refusal and tells of it
            cursor = told.cursor
            events = [record.event_log_entry.dagster_event for record in told.records]
            made += sum(event.event_type is FINISHED for event in events if event)
            started = [event.step_key for event in events if event and event.event_type is BEGUN and event.step_key]
            now = started[-1].replace("__", "/") if started else now
            words_told = [event.message or "" for event in events if event and event.event_type is TOLD]
            now = next((words for words in words_told if words.startswith(WAITS)), now)
            if not stop.is_set():
                self.progress.update(task, completed=made, now=now)
