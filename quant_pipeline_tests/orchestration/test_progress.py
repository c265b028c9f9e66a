from __future__ import annotations

import io
import sqlite3
import threading
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import dagster as dg
import pytest
from rich.console import Console
from rich.progress import TaskID

from quant_pipeline.orchestration import progress
from quant_pipeline.orchestration.progress import ProgressView
from quant_pipeline.orchestration.runner import Stage, StageEvent

KEYS = [dg.AssetKey("a"), dg.AssetKey("b")]
SIZES = {"ingest": 2, "features": 2, "train fold_00": 2, "train fold_01": 2}


class Instance:
    """Says that one of two assets is made, and that another has begun; each once, as the cursor asks."""

    def __init__(self) -> None:
        self.asked, self.cursors = [], []

    def get_records_for_run(self, run_id: str, cursor: str | None, **_: object) -> SimpleNamespace:
        self.asked.append(run_id)
        self.cursors.append(cursor)
        kinds = (progress.FINISHED, progress.BEGUN) if cursor is None else ()
        events = [SimpleNamespace(event_type=kind, step_key="models__lightgbm", message="") for kind in kinds]
        records = [SimpleNamespace(event_log_entry=SimpleNamespace(dagster_event=event)) for event in events]
        return SimpleNamespace(records=records, cursor="after")


def shown(*events: StageEvent) -> tuple[str, ProgressView]:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with ProgressView(Instance(), console, SIZES) as view:
        for event in events:
            view.listen(event)
    return console.file.getvalue(), view


def test_a_reused_stage_is_full_and_says_so():
    stage = Stage("features", ("features",), "GC=F")
    text, view = shown(StageEvent(stage, KEYS, None), StageEvent(stage, KEYS, None, done=True))
    task = view.progress.tasks[1]
    assert (task.completed, task.total, task.fields["now"]) == (2, 2, "reused")
    assert "features" in text


def test_the_first_line_counts_what_has_to_be_made_and_leaves_out_what_is_reused():
    ingest, features = Stage("ingest", ("ingest",), "GC=F"), Stage("features", ("features",), "GC=F")
    _, view = shown(
        StageEvent(ingest, KEYS, None),
        StageEvent(ingest, KEYS, None, done=True),
        StageEvent(features, KEYS[:1], "run-1"),
        StageEvent(features, KEYS[:1], "run-1", done=True),
    )
    whole = view.progress.tasks[0]
    assert (whole.description, whole.completed, whole.total) == ("all", 1, 5)


def test_compiling_is_told_while_it_lasts(monkeypatch, tmp_path):
    monkeypatch.setattr(progress.jit, "KERNELS", tmp_path)
    _, view = shown()
    assert view.progress.tasks[0].fields["now"] == "compiling kernels (first run only)"


def test_what_is_done_compiles_no_more(monkeypatch, tmp_path):
    monkeypatch.setattr(progress.jit, "KERNELS", tmp_path)
    stages = [Stage(name, (), "GC=F") for name in SIZES]
    _, view = shown(*(StageEvent(stage, KEYS, "run-1", done) for stage in stages for done in (False, True)))
    assert view.progress.tasks[0].fields["now"] == ""


def test_a_stage_that_runs_shows_what_is_made_now(monkeypatch):
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.001)
    seen, counted = threading.Event(), []
    stage = Stage("train fold_00", ("models",), "GC=F")
    with ProgressView(Instance(), Console(file=io.StringIO()), SIZES) as view:
        update = view.progress.update

        def remember(*arguments: object, **values: object) -> None:
            update(*arguments, **values)
            if values.get("now") == "models/lightgbm" and len(view.instance.cursors) > 2:
                counted.append(values["completed"])
                seen.set()

        monkeypatch.setattr(view.progress, "update", remember)
        view.listen(StageEvent(stage, KEYS, "run-1"))
        assert seen.wait(10)
        view.listen(StageEvent(stage, KEYS, "run-1", done=True))
        assert view.progress.tasks[1].completed == 2
    assert set(view.instance.asked) == {"run-1"}
    assert view.instance.cursors[:2] == [None, "after"]
    assert set(counted) == {1}  # what was read before is not counted again


def test_a_wait_is_shown_with_what_it_is_for(monkeypatch):
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.001)
    waits = SimpleNamespace(event_type=progress.TOLD, step_key=None, message="waits for the pool gpu, held by …")
    told = SimpleNamespace(records=[SimpleNamespace(event_log_entry=SimpleNamespace(dagster_event=waits))], cursor="after")
    monkeypatch.setattr(Instance, "get_records_for_run", lambda *_, **__: told)
    shown_now = threading.Event()
    with ProgressView(Instance(), Console(file=io.StringIO()), SIZES) as view:
        monkeypatch.setattr(view.progress, "update", lambda *_, now, **__: shown_now.set() if now == waits.message else None)
        view.listen(StageEvent(Stage("features", ("features",), "GC=F"), KEYS, "run-1"))
        assert shown_now.wait(10)


def test_a_long_wait_is_told_whole_beside_the_count_on_a_screen_of_eighty_columns():
    console, words = Console(file=io.StringIO(), width=80), "waits for the pool encoder, held by hourly_inference of GC=F"
    view = ProgressView(Instance(), console, SIZES)
    view.progress.add_task("train fold_00", total=24, now=words)
    console.print(view.progress.get_renderable())
    *_, line, more = console.file.getvalue().splitlines()
    assert "train fold_00" in line
    assert "0/24" in line
    assert f"{line} {more}".split()[-len(words.split()) :] == words.split()


@pytest.mark.parametrize(("error", "raised"), [(sqlite3.OperationalError("disk I/O error"), False), (ZeroDivisionError(), True)])
def test_a_full_disk_ends_the_watch_in_silence_for_the_run_tells_of_it(monkeypatch, error, raised):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(progress, "POLL_SECONDS", 0)
    with ProgressView(Instance(), Console(file=io.StringIO()), SIZES) as view:
        monkeypatch.setattr(view.instance, "get_records_for_run", fail)
        watch = partial(view._follow, "run-1", TaskID(0), threading.Event())
        with pytest.raises(type(error)) if raised else nullcontext():
            watch()


def test_leaving_in_the_middle_stops_the_watch():
    stage = Stage("ingest", ("ingest",), "GC=F")
    _, view = shown(StageEvent(stage, KEYS, "run-1"))
    assert view._stops["ingest"].is_set()


def test_two_stages_at_once_are_followed_and_ended_each_by_itself():
    one, two = Stage("train fold_00", ("models",), "GC=F"), Stage("train fold_01", ("models",), "GC=F")
    with ProgressView(Instance(), Console(file=io.StringIO()), SIZES) as view:
        view.listen(StageEvent(one, KEYS, "run-1"))
        view.listen(StageEvent(two, KEYS, "run-2"))
        view.listen(StageEvent(one, KEYS, "run-1", done=True))
        assert view._stops[one.name].is_set()
        assert not view._stops[two.name].is_set()


def test_without_a_terminal_every_stage_that_ended_is_one_plain_line_at_once():
    ingest, train = Stage("ingest", ("ingest",), "GC=F"), Stage("train fold_00", ("models",), "GC=F")
    console = Console(file=io.StringIO(), width=20)
    with ProgressView(Instance(), console, SIZES) as view:
        view.listen(StageEvent(ingest, KEYS, None))
        view.listen(StageEvent(ingest, KEYS, None, done=True))
        view.listen(StageEvent(train, KEYS, "run-1"))
        assert console.file.getvalue() == "ingest: 2 reused\n"
        view.listen(StageEvent(train, KEYS, "run-1", done=True))
    assert console.file.getvalue() == "ingest: 2 reused\ntrain fold_00: 2 made in 0 s\n"


def test_on_a_terminal_the_plain_lines_are_not_told():
    stage = Stage("ingest", ("ingest",), "GC=F")
    text, _ = shown(StageEvent(stage, KEYS, "run-1"), StageEvent(stage, KEYS, "run-1", done=True))
    assert "made in" not in text
