"""What counts as a table of a user's: by place and kind of file, whatever opened it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from quant_pipeline.inference import watch


@pytest.mark.parametrize("name", ["fitted.pth", "daily.csv", "daily.yaml"])
def test_a_file_of_a_user_is_one_wherever_it_is_kept(tmp_path, name):
    beside = Path(sys.prefix + "-data")  # a name that begins like that of the environment
    for folder in (tmp_path, beside, Path(watch.MEMORY), watch.PACKAGE / "features"):
        assert not watch._allowed(folder / name), folder


@pytest.mark.parametrize(
    "place", [os.devnull, "/dev/urandom", "/proc/cpuinfo", "/usr/share/zoneinfo/UTC", watch.PACKAGE / "config" / "documents.yaml",
              watch.PACKAGE / "features" / "returns.py", Path(sys.prefix) / "lib" / "library" / "table.csv"],
)  # fmt: skip
def test_code_settings_and_what_the_system_keeps_are_none(place):
    assert watch._allowed(place)


def test_a_table_among_the_settings_is_none_of_them():
    assert not watch._allowed(watch.PACKAGE / "config" / "daily.csv")


def test_a_plugin_is_no_library_wherever_it_lies(plug, monkeypatch):
    folder = plug(mine="")
    monkeypatch.setattr(watch, "LIBRARIES", (*watch.LIBRARIES, str(folder.parent) + os.sep))
    assert watch._allowed(folder / "mine.py")
    assert not watch._allowed(folder / "daily.csv")
    assert not watch._of_library(str(folder / "mine.py"))
    assert watch._of_library(str(folder.parent / "library.py"))
