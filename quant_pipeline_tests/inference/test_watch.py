"""Ways to a table of a user's that only a watcher of calls, of native readers or of code that is run can hear."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("reading_functions.py")
PROGRAM = """
import importlib, json, sys
import polars
from quant_pipeline.inference.watch import Watch

watch, heard = Watch(lambda frame: None), {}
sys.path.insert(0, sys.argv[1])
module = importlib.import_module("reading_functions")
for kind, calls in (("READERS", False), ("CALLERS", True), ("HONEST", True)):
    watch.calls = calls
    for function in getattr(module, kind):
        watch.found.clear()
        try:
            with watch.listening():
                function()
        except Exception as error:
            print(f"{function.__name__}: {error!r}", file=sys.stderr)
            raise
        heard[function.__name__] = [list(access) for access in watch.found]
print(json.dumps(heard))
"""


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """What a process of its own heard of each of `reading_functions`, which lie in no place of code."""
    import numpy as np
    import polars as pl

    folder = tmp_path_factory.mktemp("functions")
    (folder / SOURCE.name).write_text(SOURCE.read_text())
    days = pl.DataFrame({"close": np.arange(10.0)})
    days.write_parquet(folder / "table.parquet")
    days.write_csv(folder / "table.csv")
    days.write_ipc(folder / "table.arrow")
    (folder / "table.bin").write_bytes(days["close"].to_numpy().tobytes())
    (folder / "table.py").write_text("CLOSE = [1.0, 2.0]")
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def functions(kind: str) -> list[str]:
    """Names of the functions of a kind, in whose source none is imported here: pyarrow and torch stay unloaded."""
    lines = SOURCE.read_text().splitlines()
    marked = [after for line, after in pairwise(lines) if line == f"@{kind}.add"]
    return [line.partition("(")[0].removeprefix("def ") for line in marked]


WORDS = ("table", "ctypes", "from_file", "os.fork", "another process", "mmap", "environment variable")


@pytest.mark.parametrize("name", [*functions("READERS"), *functions("CALLERS")])
def test_every_way_to_a_table_is_heard_and_says_who(heard, name):
    told = heard[name]
    assert any(word in what for _, _, what in told for word in WORDS), told
    assert all(who == f"reading_functions.{name}" and "reading_functions.py:" in place for who, place, _ in told), told


@pytest.mark.parametrize("name", functions("HONEST"))
def test_what_reads_nothing_is_not_accused(heard, name):
    assert heard[name] == []
