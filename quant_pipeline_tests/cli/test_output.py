"""Rows for a person and for a program: nothing is cut, and one form is as complete as the other."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from quant_pipeline.errors import ConfigError

SYMBOL = "BTC-USD"
TABLES = [
    ("report", SYMBOL), ("predict", SYMBOL), ("replay", SYMBOL), ("symbols",), ("models",), ("features", "--family", "momentum"),
    ("sql", "select symbol, decision_at, label from labels limit 2"),
]  # fmt: skip


@pytest.mark.parametrize("command", TABLES, ids=lambda command: command[0])
def test_every_table_comes_as_json_and_as_csv(quant, home, command):
    rows = json.loads(quant(home, *command, "--json").output)
    table = list(csv.DictReader(io.StringIO(quant(home, *command, "--csv").output)))
    assert rows
    assert [list(row) for row in rows] == [list(row) for row in table]


def test_the_doctor_speaks_json_too(quant, home_of_nothing, monkeypatch):
    from quant_pipeline.orchestration import doctor

    monkeypatch.setattr(doctor, "examine", lambda: [("disk", False, "[full]")])
    result = quant(home_of_nothing, "doctor", "--json")
    assert (result.exit_code, json.loads(result.output)) == (1, [{"check": "disk", "state": "wrong", "finding": "[full]"}])


def test_two_forms_at_once_are_refused(quant, refused, home_of_nothing):
    refused(quant(home_of_nothing, "symbols", "--json", "--csv"), ConfigError, "--json and --csv")


def test_a_pipe_of_eighty_columns_gets_every_cell_whole_and_every_row_in_a_line(quant, home_of_nothing, monkeypatch):
    from quant_pipeline import cli

    monkeypatch.setattr(cli.console, "_width", 80)
    long = "x" * 300
    output = quant(home_of_nothing, "sql", f"select '{long}' as one, 'a b' as two, '[bold]' as three").output
    assert any(line.split() == [long, "a", "b", "[bold]"] for line in output.splitlines())


def test_the_version_is_told(quant, home_of_nothing):
    from quant_pipeline import __version__

    assert quant(home_of_nothing, "--version").output == f"quant {__version__}\n"


REDIRECTED = """
import os
from quant_pipeline.cli.output import real_console
from quant_pipeline.cli.shell import console
console.print("first")
with real_console(console) as screen:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    screen.print("a stage ended")
"""


def test_a_pipe_hears_of_stages_while_dagster_keeps_standard_output_for_a_step():
    ended = subprocess.run([sys.executable, "-c", REDIRECTED], capture_output=True, text=True, check=True)
    assert ended.stdout == "first\na stage ended\n"
