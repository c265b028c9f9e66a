"""Modules of a user's own: which there are, how they are imported, and what is refused."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from quant_pipeline import plugins
from quant_pipeline.errors import ConfigError


def test_every_file_of_every_folder_is_a_plugin_in_their_order(plug, tmp_path, monkeypatch):
    folder = plug(b="", a="", __init__="")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "A.py").write_text("")
    monkeypatch.setenv(plugins.VARIABLE, f"{folder}:{tmp_path / 'more'}:")
    assert [path.name for path in plugins.modules().values()] == ["a.py", "b.py", "A.py"]
    assert list(plugins.modules()) == [f"quant_pipeline.plugins.{name}" for name in ("a", "b", "A")]


def test_without_the_variable_there_are_none(monkeypatch):
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    assert plugins.modules() == {}
    assert plugins.told("quant_pipeline.features.momentum") == {}


def test_a_plugin_is_imported_by_its_name_alone_in_another_process(plug):
    plug(mine="from quant_pipeline.plugins import helper\nfrom .helper import x\nprint(x + helper.x)", helper="x = 2")
    code = "import importlib; importlib.import_module('quant_pipeline.plugins.mine')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "4"


def test_two_files_of_one_name_are_refused_naming_both(plug, tmp_path, monkeypatch):
    folder = plug(mine="")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "mine.py").write_text("")
    monkeypatch.setenv(plugins.VARIABLE, f"{folder}:{tmp_path / 'more'}")
    with pytest.raises(ConfigError, match=r"plugins/mine\.py and .*more/mine\.py.*rename one"):
        plugins.modules()


@pytest.mark.parametrize(("made", "words"), [(False, "no such folder"), (True, "a file")])
def test_what_is_no_folder_is_refused_with_its_mend(tmp_path, monkeypatch, made, words):
    place = tmp_path / "plugins"
    if made:
        place.write_text("")
    monkeypatch.setenv(plugins.VARIABLE, str(place))
    with pytest.raises(ConfigError, match=f"QUANT_PLUGINS: found {place}, {words}.*To mend: .*unset QUANT_PLUGINS"):
        plugins.modules()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\nx = 1 / 0", r"mine\.py, line 2: found ZeroDivisionError: division by zero"),
        ("x = (", r"mine\.py: found SyntaxError"),
        ("import sys\nsys.exit(3)", r"mine\.py, line 2: found SystemExit: 3"),
        ("import nobody_has_this", r"No module named 'nobody_has_this'.*mend it, or take it out of its folder"),
        ("import helper", r"No module named 'helper'.*write: from quant_pipeline.plugins import helper"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_its_line(plug, text, words):
    plug(mine=text, helper="")
    with pytest.raises(ConfigError, match=words):
        plugins.load()


def test_a_folder_is_meant_from_where_the_command_was_given(plug, tmp_path, monkeypatch):
    plug(mine="")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "plugins")
    plugins.settle()
    monkeypatch.chdir("/")
    assert list(plugins.modules().values()) == [tmp_path / "plugins" / "mine.py"]
    importlib.import_module("quant_pipeline.plugins.mine")
