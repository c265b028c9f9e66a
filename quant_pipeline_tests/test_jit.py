"""A kernel that calls an edited one is compiled anew: the cache is another one after any edit of a file with kernels."""

from __future__ import annotations

import numba

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
