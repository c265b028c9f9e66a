from __future__ import annotations

import subprocess
import sys
import uuid

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import ConfigError, DataError, MissingUpstreamError, StorageError
from quant_pipeline.orchestration.partitions import fold_key
from quant_pipeline.orchestration.runner import Runner, StageEvent, fold_partitions, stages

SYMBOL = "BTC-USD"
HOLD = """
import fcntl, sys, time
handle = open(sys.argv[1], "a+")
fcntl.flock(handle, fcntl.LOCK_EX)
handle.write("4711")
handle.flush()
print("held", flush=True)
time.sleep(60)
"""


def test_the_stages_train_every_fold_and_the_holdout_last(default_house):
    names = [stage.name for stage in stages(default_house, "GC=F")]
    folds = [f"train {fold}" for fold in default_house.experiment.splits.fold_names]
    assert names == ["ingest", "features", "pictures", *folds, "ensemble", "backtest", "reports", "signals"]
    assert [stage.name for stage in stages(default_house, "GC=F") if stage.always] == ["ingest", "signals"]


def test_the_stages_end_where_they_are_told(default_house):
    assert stages(default_house, "GC=F", until="reports")[-1].name == "reports"
    assert [stage.name for stage in stages(default_house, "GC=F", until="ingest")] == ["ingest"]


def test_every_asset_belongs_to_exactly_one_stage(default_house):
    graph = build_defs(default_house).resolve_asset_graph()
    plan = {stage.name: stage for stage in stages(default_house, "GC=F") if not stage.name.startswith("train fold")}
    for key in graph.get_all_asset_keys():
        assert sum(stage.makes(key, graph.get(key).group_name) for stage in plan.values()) == 1, key


def test_the_folds_of_a_symbol_end_with_the_holdout(default_house):
    keys = fold_partitions(default_house, "GC=F")
    assert keys == [fold_key("GC=F", fold) for fold in default_house.experiment.splits.fold_names]


def test_an_unknown_symbol_is_refused_before_anything_is_written(bare_home):
    with bare_home.runner() as runner, pytest.raises(ConfigError, match="did you mean 'BTC-USD'"):
        runner.run("BTCUSD")
    assert bare_home.contents() == {}


def test_the_listener_hears_of_every_stage_in_order(home):
    heard: list[StageEvent] = []
    with home.runner() as made:
        Runner(build_defs(made.house), made.instance, made.house, heard.append).run(SYMBOL, until="ensemble")
    names = [stage.name for stage in stages(home.house(), SYMBOL, until="ensemble")]
    assert [event.stage.name for event in heard] == [name for name in names for _ in range(2)]
    assert [event.done for event in heard] == [False, True] * len(names)
    assert [event.run_id is not None for event in heard] == [True, True] + [False] * (2 * len(names) - 2)


def test_force_makes_a_fresh_stage_again(home):
    with home.runner() as runner:
        summary = runner.run(SYMBOL, until="ingest", force=True)
    assert summary.made == [f"raw_bars|{SYMBOL}"]
    assert summary.reused == []


def test_two_runs_of_a_symbol_at_once_are_refused(bare_home):
    with bare_home.runner() as runner:
        path = bare_home.lake / ".locks" / SYMBOL
        path.parent.mkdir(parents=True)
        with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(StorageError, match=r"another run \(process 4711\)"):
                runner.run(SYMBOL)
            with runner.locked("GC=F"):
                pass
            other.kill()
            other.wait()
        with runner.locked(SYMBOL):
            assert path.read_text().isdigit()
    assert bare_home.contents() == {}


def test_the_error_of_an_asset_comes_out_as_it_was_raised(bare_home):
    with bare_home.runner() as runner:
        with pytest.raises(MissingUpstreamError, match="quant materialize 'bars/1h/BTC-USD'") as caught:
            runner.materialize([dg.AssetKey(["models", "logistic"])], fold_key(SYMBOL, "fold_00"))
        assert type(caught.value) is MissingUpstreamError
        failed = runner.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert len(failed) == 1


def test_an_error_that_nobody_foresaw_comes_out_too(home, monkeypatch):
    from quant_pipeline.validation import splits

    def break_it(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(splits, "make_splits", break_it)
    with home.runner() as runner, pytest.raises(ZeroDivisionError):
        runner.materialize([dg.AssetKey("splits")], SYMBOL)


def test_a_run_that_failed_goes_on_where_it_stopped(home, monkeypatch):
    from quant_pipeline.ensemble import fit

    def fail(*_: object, **__: object) -> None:
        raise DataError("rows", found="none", wanted="some", mend="try again")

    (home.lake / "oof_predictions" / "fold_00" / f"{SYMBOL}.parquet").unlink()
    (home.lake / "meta_learner" / SYMBOL).rename(home.root / "aside")
    with home.runner() as runner:
        with monkeypatch.context() as patched:
            patched.setattr(fit, "fit_ensemble", fail)
            with pytest.raises(DataError, match="try again"):
                runner.run(SYMBOL, until="ensemble")
        summary = runner.run(SYMBOL, until="ensemble")
    assert f"oof_predictions|{fold_key(SYMBOL, 'fold_00')}" in summary.reused
    assert set(summary.made) == {f"{name}|{SYMBOL}" for name in ("raw_bars", "meta_learner", "fit_audit", "bundle", "champion")}


def test_what_a_killed_run_left_half_written_is_swept(bare_home):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for place in (bare_home.lake / "features", bare_home.house().workplace.bundles / SYMBOL):
        place.mkdir(parents=True)
        (place / f".partial-{dead.pid}-{uuid.uuid4().hex[:8]}-x.parquet").write_text("half")
    with bare_home.runner() as runner:
        runner.run(SYMBOL, until="ingest")
    assert not [name for name in bare_home.contents() if ".partial" in name]
