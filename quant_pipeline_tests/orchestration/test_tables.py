from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from quant_pipeline.orchestration import tables

WIDE = {"symbol": "GC=F", "reason": "a" * 70, "note": "b" * 50}


def shown(rows: list[dict], title: str = "", *, terminal: bool = False, width: int = 60) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    tables.show(rows, title, console)
    return [line.strip() for line in console.file.getvalue().strip().splitlines()]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_column_per_key_and_a_line_per_row(terminal):
    lines = shown([{"symbol": "GC=F", "bars": 3}, {"symbol": "SPY", "bars": 4}], "symbols", terminal=terminal)
    told = [line.split() for line in lines if line and set(line) != {"─"}]
    assert told == [["symbols"], ["symbol", "bars"], ["GC=F", "3"], ["SPY", "4"]]


def test_no_rows_are_told_as_such():
    assert "nothing here" in shown([])[0]


def test_only_rows_of_several_lines_are_set_apart():
    assert shown([{"a": "1"}, {"a": "2"}])[2:] == ["1", "2"]
    assert shown([{"a": "1\nx"}, {"a": "2\ny"}])[2:] == ["1", "x", "", "2", "y"]


def test_text_is_no_markup_and_coloured_text_is_itself():
    assert shown([{"[a]": "[bold]x[/]", "b": Text("ok", "green")}])[-1].split() == ["[bold]x[/]", "ok"]


def test_a_pipe_has_no_width():
    assert shown([WIDE])[-1].split() == list(WIDE.values())


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_too_narrow_for_the_columns_gets_a_line_a_cell_and_loses_nothing(width):
    lines = shown([{**WIDE, "tall": "1\n2"}], "wide", terminal=True, width=width)
    assert lines == ["wide", "symbol: GC=F", f"reason: {'a' * 70}", f"note: {'b' * 50}", "tall: 1; 2"]


def said(text: Text, *, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=40, force_terminal=terminal, color_system=None)
    tables.say(console, text)
    return console.file.getvalue().splitlines()


def test_sentences_are_folded_between_words_and_a_path_stays_whole():
    path = f"/home/{'x' * 60}/skill_report.html"
    text = Text(f"StorageError: the table was damaged on 2026-11-18; the page is\n{path}")
    assert said(text, terminal=True) == ["StorageError: the table was damaged on", "2026-11-18; the page is", path]
    assert said(text, terminal=False) == text.plain.splitlines()


def test_what_is_coloured_stays_so_when_it_is_folded():
    console = Console(file=io.StringIO(), width=12, force_terminal=True)
    tables.say(console, Text.assemble(("Error", "red"), ": found nothing of it"))
    assert console.file.getvalue() == "\x1b[31mError\x1b[0m: found\nnothing of\nit\n"
