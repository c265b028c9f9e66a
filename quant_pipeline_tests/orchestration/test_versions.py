from __future__ import annotations

import pytest

from quant_pipeline.config.experiment import LabelSettings
from quant_pipeline.orchestration import versions
from quant_pipeline.orchestration.versions import code_version


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two rooms and a module."""
    (tmp_path / "bars" / "deep").mkdir(parents=True)
    for name in ("bars/a.py", "bars/deep/b.py", "labels.py"):
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(versions, "PACKAGE", tmp_path)
    versions._source_digest.cache_clear()
    yield tmp_path
    versions._source_digest.cache_clear()


def edited(package, name: str) -> str:
    (package / name).write_text("x = 2\n")
    versions._source_digest.cache_clear()
    return code_version("bars")


def test_equal_sources_and_settings_give_one_version(package):
    assert code_version("bars", settings=(LabelSettings(),)) == code_version("bars", settings=(LabelSettings(),))
    assert len(code_version("bars")) == 12
    assert package.is_dir()


def test_an_edit_anywhere_in_a_room_counts(package):
    before = code_version("bars")
    first = edited(package, "bars/a.py")
    second = edited(package, "bars/deep/b.py")
    assert len({before, first, second}) == 3


def test_an_edit_in_another_room_does_not(package):
    before = code_version("bars")
    assert edited(package, "labels.py") == before


def test_a_new_or_renamed_file_counts(package):
    before = code_version("bars")
    assert edited(package, "bars/new.py") != before
    before = code_version("bars")
    (package / "bars" / "new.py").rename(package / "bars" / "other.py")
    versions._source_digest.cache_clear()
    assert code_version("bars") != before


@pytest.mark.usefixtures("package")
def test_settings_count_whatever_they_are():
    found = [
        code_version("labels", settings=settings)
        for settings in ((), (LabelSettings(),), (LabelSettings(max_bars=6),), ("1h",), (("1h", "5m"),), (None,))
    ]
    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("package")
def test_a_room_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        code_version("nowhere")
