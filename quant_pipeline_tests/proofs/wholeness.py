"""Whether a kill left anything half-written: what the proofs of kills and power cuts ask of a folder."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import h5py
import polars as pl

from quant_pipeline.files import TEMPORARY
from quant_pipeline.inference.bundle import verify_bundle


def unreadable(shell) -> list[str]:
    """Files under the data folder that do not open as what they are called."""
    faults = []
    for path in sorted(path for path in shell.data.rglob("*") if path.is_file()):
        try:
            _open(path)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is named
            faults.append(f"{path}: {type(error).__name__}: {error}")
    return faults


def _open(path) -> None:
    if path.suffix == ".parquet":
        pl.read_parquet(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".jsonl":
        [json.loads(line) for line in path.read_text().splitlines()]
    elif path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            assert file["embedding"][:].shape[0] == file["text_hash"].shape[0] > 0
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")
    elif path.suffix == ".png":
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    elif path.suffix == ".db":
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def leftovers(shell) -> list[str]:
    """Temporaries, and bundle folders without a manifest."""
    bundles = [path for path in shell.data.glob("bundles/simulated/*/*/*/*") if path.is_dir() and path.name != ".locks"]
    bare = [path for path in bundles if not (path / "manifest.json").exists() or path.name == "building"]
    return sorted(map(str, [*shell.data.rglob(f"{TEMPORARY}*"), *bare]))


def assert_whole(shell) -> None:
    """Every file opens, no temporary is left, every bundle is as it was sealed."""
    assert leftovers(shell) == []
    assert unreadable(shell) == []
    assert all(verify_bundle(manifest.parent) for manifest in shell.data.glob("bundles/simulated/*/*/*/*/manifest.json"))
