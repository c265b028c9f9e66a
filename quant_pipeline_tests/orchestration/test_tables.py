from __future__ import annotations

import io

from rich.console import Console

from quant_pipeline.orchestration.tables import table


def shown(rows: list[dict], title: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=60)
    console.print(table(rows, title))
    return [line.strip() for line in console.file.getvalue().strip().splitlines()]


def test_a_column_per_key_and_a_line_per_row():
    lines = shown([{"symbol": "GC=F", "bars": 3}, {"symbol": "SPY", "bars": 4}], "symbols")
    told = [line.split() for line in lines if line and set(line) != {"─"}]
    assert told == [["symbols"], ["symbol", "bars"], ["GC=F", "3"], ["SPY", "4"]]


def test_no_rows_are_told_as_such():
    assert "nothing here" in shown([])[0]


def test_only_rows_of_several_lines_are_set_apart():
    assert shown([{"a": "1"}, {"a": "2"}])[2:] == ["1", "2"]
    assert shown([{"a": "1\nx"}, {"a": "2\ny"}])[2:] == ["1", "x", "", "2", "y"]
