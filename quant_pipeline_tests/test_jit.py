"""A kernel that calls an edited one is compiled anew: the cache is another one after any edit of a file with kernels."""

from __future__ import annotations

from pathlib import Path

import numba
import pytest

from quant_pipeline import jit


def test_the_cache_is_named_by_every_file_with_a_kernel(tmp_path, monkeypatch):
    (tmp_path / "room").mkdir()
    kernel, plain = tmp_path / "room" / "kernel.py", tmp_path / "plain.py"
    kernel.write_text("@compiled\ndef double(x):\n    return 2 * x\n")
    plain.write_text("one = 1\n")
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)
    first = jit._cache()
    plain.write_text("one = 2\n")
    assert jit._cache() == first
    kernel.write_text("@compiled\ndef double(x):\n    return x + x\n")
    assert jit._cache() != first


def test_the_users_own_cache_folder_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert jit._cache().parent == tmp_path


def test_numba_uses_it():
    assert str(jit._cache()) == numba.config.CACHE_DIR


def plus_one(x):
    return x + 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def blank(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [empty, cut, blank])
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_kernel_that_a_power_cut_damaged_is_compiled_again(tmp_path, monkeypatch, ending, damage):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert jit.compiled(plus_one)(1) == 2
    (path,) = tmp_path.rglob(f"*.{ending}")
    damage(path)
    again, after = jit.compiled(plus_one), jit.compiled(plus_one)
    assert again(1) == after(1) == 2
    assert sum(again.stats.cache_hits.values()) == 0
    assert sum(after.stats.cache_hits.values()) == 1
