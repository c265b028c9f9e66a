"""What counts as a table of a user's: by place and kind of file, whatever opened it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from quant_pipeline.inference import outside


@pytest.mark.parametrize("name", ["fitted.pth", "daily.csv", "daily.yaml"])
def test_a_file_of_a_user_is_one_wherever_it_is_kept(tmp_path, name):
    beside = Path(sys.prefix + "-data")  # a name that begins like that of the environment
    for folder in (tmp_path, beside, Path(outside.MEMORY), outside.PACKAGE / "features"):
        assert not outside.allowed(folder / name), folder


@pytest.mark.parametrize(
    "place", [os.devnull, "/dev/urandom", "/proc/cpuinfo", "/usr/share/zoneinfo/UTC",
              outside.PACKAGE / "config" / "documents.yaml",
              outside.PACKAGE / "features" / "returns.py", Path(sys.prefix) / "lib" / "library" / "table.csv"],
)  # fmt: skip
def test_code_settings_and_what_the_system_keeps_are_none(place):
    assert outside.allowed(place)


def test_variables_of_a_process_are_those_of_a_user():
    assert not outside.allowed("/proc/self/environ")
    assert not outside.allowed("/proc/thread-self/environ")


def test_a_table_among_the_settings_is_none_of_them():
    assert not outside.allowed(outside.PACKAGE / "config" / "daily.csv")


def test_a_plugin_is_no_library_wherever_it_lies(plug, monkeypatch):
    folder = plug(mine="")
    monkeypatch.setattr(outside, "LIBRARIES", (*outside.LIBRARIES, str(folder.parent) + os.sep))
    assert outside.allowed(folder / "mine.py")
    assert not outside.allowed(folder / "daily.csv")
    assert not outside.of_library(str(folder / "mine.py"))
    assert outside.of_library(str(folder.parent / "library.py"))


def test_code_from_anywhere_else_may_be_a_table_of_values(tmp_path):
    for name in ("values.py", "values.pyc", "values.so"):
        assert not outside.allowed(tmp_path / name)
    assert outside.allowed(tmp_path / "compiled.nbi")


def test_names_of_files_are_found_in_containers_of_a_bounded_depth():
    given = ["a", ("b", {"key": Path("c")}), {b"d"}, frozenset({"e"}), 1.5, None]
    assert sorted(outside.texts(given)) == ["a", "b", "c", "d", "e"]
    assert list(outside.texts([[[["too deep"]]]])) == []
    assert len(list(outside.texts(["x"] * 1_000_000))) < 100


def test_what_a_long_text_names_is_no_file():
    assert not outside.is_file("x" * 300)
    assert not outside.is_place("/" + "x" * 300)
