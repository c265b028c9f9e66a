"""A command's process ends at once, and properly."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROCESS = """
import atexit, os, sys
from quant_pipeline.cli import app, main

end = os._exit
os._exit = lambda code: (print("at once", flush=True), end(code))
@app.command()
def probe(code: int):
    atexit.register(print, "closed")
    print("last line")
    raise {error}
sys.argv = ["quant", "probe", "3"]
main()
"""


@pytest.mark.parametrize(("error", "code"), [("SystemExit(code)", 3), ("SystemExit", 0), ("SystemExit('why')", 1)])
def test_what_is_left_to_do_is_done_and_nothing_is_taken_apart(error, code):
    ended = subprocess.run([sys.executable, "-c", PROCESS.format(error=error)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (code, "last line\nclosed\nat once\n")


def test_an_error_that_nobody_expected_keeps_its_traceback():
    ended = subprocess.run(
        [sys.executable, "-c", PROCESS.format(error="ZeroDivisionError")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
