"""Every command of `quant`, on a trained home."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
import typer

from quant_pipeline import cli
from quant_pipeline.cli.place import find_home
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.orchestration.runner import Runner

SYMBOL = "BTC-USD"
GROUP = typer.main.get_command(cli.app)
COMMANDS = sorted(GROUP.commands)


def help_of(quant, home, *arguments: str) -> str:
    result = quant(home, *arguments, "--help", COLUMNS="200", NO_COLOR="1", TERM="dumb")
    assert result.exit_code == 0
    return result.output


def test_the_front_page_names_every_command_and_the_first_steps(quant, home_of_nothing):
    text = help_of(quant, home_of_nothing)
    assert all(re.search(rf"\b{name}\b", text) for name in COMMANDS)
    assert all(words in text for words in ("quant run GC=F", "--profile files --bars", "--experiment mine.yaml", "quant doctor"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_page_teaches_with_examples_that_can_be_typed(quant, home_of_nothing, name):
    text = help_of(quant, home_of_nothing, name)
    shown = text.partition("Examples")[2]
    lines = [line.strip() for line in shown.splitlines() if "quant " in line]
    assert lines
    for line in lines:
        words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word) or word == "GC=F"]
        assert words[:2] == ["quant", name]
        GROUP.commands[name].make_context(name, words[2:])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    for parameter in GROUP.commands[name].params:
        assert parameter.help, (name, parameter.name)


def test_no_command_shows_the_front_page(quant, home_of_nothing):
    assert "Usage" in quant(home_of_nothing).output


def test_run_reuses_and_ends_with_verdict_signal_and_what_is_next(quant, home):
    before = home.contents()
    result = quant(home, "run", SYMBOL)
    assert result.exit_code == 0
    assert "made 2, reused 35" in result.output
    assert "SIMULATED" in result.output
    assert "2026-11-18 10:00 UTC" in result.output
    assert f"{SYMBOL}/skill_report.html" in result.output
    *_, verdict, signal, after, page, address = result.output.splitlines()
    assert [line.split()[0] for line in (verdict, signal, after)] == [SYMBOL, "Signal:", "Next:"]
    assert Path(page).is_file()
    assert address.startswith("http://127.0.0.1:3001/")
    assert home.contents() == before


def test_train_ends_before_the_signal(quant, home):
    result = quant(home, "train", SYMBOL)
    assert result.exit_code == 0
    assert "made 1, reused 35" in result.output
    assert "decided" not in result.output


def test_predict_emits_the_signal_of_the_latest_bar_once(quant, home):
    for _ in range(2):
        result = quant(home, "predict", SYMBOL, "--as-of", "2026-11-18T15:20:00+01:00")
        assert result.exit_code == 0
        assert "2026-11-18 14:00 UTC" in result.output
    assert len(home.house().signals.read(SYMBOL)) == 2


def test_predict_without_training_says_what_to_do_before_it_fetches_anything(quant, refused, bare_home):
    result = quant(bare_home, "predict", SYMBOL)
    refused(result, MissingUpstreamError, f"bundle of {SYMBOL}", f"quant train '{SYMBOL}' --experiment ")
    assert not (bare_home.house().workplace.raw / SYMBOL).exists()


def test_mends_carry_the_choices_that_they_need_to_work(quant, refused, bare_home, own_bars):
    kept = f"--profile files --experiment {bare_home.root / 'tiny.yaml'} --bars {own_bars.path}"
    for command, mend in (
        (("materialize", f"meta_learner/{SYMBOL}"), "quant materialize "), (("report", SYMBOL), f"quant train '{SYMBOL}' "),
    ):  # fmt: skip
        line = refused(quant(bare_home, *command, *own_bars.arguments), MissingUpstreamError, mend)
        assert line.endswith(kept)


def test_replay_finds_every_signal_identical(quant, trained_home):
    result = quant(trained_home, "replay", SYMBOL)
    assert result.exit_code == 0
    assert "1 signals replayed, 1 identical, 0 different" in result.output


def test_replay_of_a_span_without_signals_replays_none(quant, trained_home):
    result = quant(trained_home, "replay", SYMBOL, "--start", "2026-11-18T11:00:00+00:00")
    assert "0 signals replayed" in result.output


def test_replay_finds_a_tampered_signal_and_ends_with_1(quant, home):
    path = next((home.lake / "signals" / SYMBOL).rglob("*Z.json"))
    text = path.read_text()
    path.write_text(re.sub(r'"p_long": 0\.\d', '"p_long": 0.9', text))
    assert path.read_text() != text
    result = quant(home, "replay", SYMBOL)
    assert result.exit_code == 1
    assert "1 different" in result.output
    assert "p_long" in result.output


def test_report_shows_the_skill_table(quant, trained_home):
    result = quant(trained_home, "report", SYMBOL)
    assert result.exit_code == 0
    assert "ensemble" in result.output
    assert "final test" in result.output


@pytest.mark.parametrize("target", ["meta_learner/BTC-USD", "models/logistic/BTC-USD/fold_00", "bars/15m/BTC-USD"])
def test_materialize_makes_one_partition(quant, home, target):
    before = home.contents()
    result = quant(home, "materialize", target)
    assert result.exit_code == 0
    assert result.output.startswith("made ")
    assert home.contents() == before


def test_sql_answers_and_shows_brackets_as_they_are(quant, trained_home):
    result = quant(trained_home, "sql", "select symbol, ['bold'] as list, count(*) > 100 as many from labels group by 1")
    assert result.exit_code == 0
    assert "BTC-USD" in result.output
    assert "['bold']" in result.output
    assert "True" in result.output


def test_doctor_is_content_with_a_sound_home(quant, trained_home, monkeypatch):
    from quant_pipeline.orchestration import doctor

    monkeypatch.setattr(doctor, "ROOM_NEEDED", 1)
    result = quant(trained_home, "doctor")
    assert result.exit_code == 0, result.output
    assert "wrong" not in result.output


def test_doctor_ends_with_1_when_something_is_wrong(quant, trained_home):
    result = quant(trained_home, "doctor", "--profile", "files", "--bars", "/nowhere")
    assert result.exit_code == 1
    assert "wrong" in result.output


def test_symbols_models_and_features_are_listed(quant, home_of_nothing):
    assert all(name in quant(home_of_nothing, "symbols").output for name in ("GC=F", "AAPL", "CMEGlobex_CL", "11.5 bps"))
    models = quant(home_of_nothing, "models").output
    assert re.search(r"logistic .* yes", models)
    assert re.search(r"xgboost .* no", models)
    features = quant(home_of_nothing, "features", "--family", "momentum").output
    assert "rsi" in features
    assert "atr" not in features


def test_ui_starts_dagster_here_and_hands_on_its_exit_code(quant, home_of_nothing, monkeypatch):
    from contextlib import nullcontext

    from quant_pipeline.orchestration import web

    asked = []

    def supervise(command: list[str]) -> int:
        asked.append((command, Path.cwd(), os.environ["QUANT_PROFILE"]))
        return 7

    monkeypatch.setattr(web, "supervise", supervise)
    monkeypatch.setattr(web, "serving", lambda _: nullcontext())
    result = quant(home_of_nothing, "ui", "--port", "3111", "--profile", "yahoo")
    command, place, profile = asked[0]
    assert result.exit_code == 7
    assert "http://127.0.0.1:3111" in result.output
    assert command[1:] == ["dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", "3111"]
    assert (place, profile) == (home_of_nothing.root, "yahoo")


def test_ctrl_c_is_answered_calmly_with_130(quant, bare_home, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "run", stop)
    result = quant(bare_home, "run", SYMBOL)
    assert result.exit_code == 130
    assert "goes on from here" in result.output


def test_an_error_that_nobody_foresaw_keeps_its_traceback(quant, bare_home, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Runner, "run", fail)
    with pytest.raises(ZeroDivisionError):
        quant(bare_home, "run", SYMBOL)


def test_an_experiment_is_a_path_from_where_the_shell_stands(quant, home_of_nothing, tmp_path):
    home_of_nothing.experiment(tmp_path / "mine.yaml", splits={"folds": 1})
    assert Path.cwd() == tmp_path
    assert "splits.folds: found 1" in quant(home_of_nothing, "run", SYMBOL, "--experiment", "mine.yaml").output


def test_the_home_is_the_nearest_folder_upward_with_a_dagster_yaml(home_of_nothing, monkeypatch, tmp_path):
    (tmp_path / "checkout" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "checkout" / "dagster.yaml").touch()
    monkeypatch.chdir(tmp_path / "checkout" / "deep" / "er")
    assert find_home() == tmp_path / "checkout"
    monkeypatch.chdir(home_of_nothing.root)
    assert find_home() == home_of_nothing.root


def test_outside_of_any_checkout_the_installed_one_is_the_home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_home() == Path(cli.__file__).parents[2]
