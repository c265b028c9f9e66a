"""How a command says its rows: as a table for a person, as JSON or CSV for a program."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from quant_pipeline.cli.shell import console
from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration import tables
from quant_pipeline.orchestration.tables import say

if TYPE_CHECKING:
    from quant_pipeline.orchestration.house import House


def show(rows: Sequence[dict[str, Any]], title: str, *, as_json: bool, as_csv: bool, figures: Any = None) -> bool:
    """Print `rows` as asked; True where that was for a person.

    Args:
        rows: one mapping a row, with equal keys.
        title: stands over the table, and in no other form.
        as_json: a list of objects.
        as_csv: a line of names, then one a row.
        figures: what a program gets in place of `rows`, where those are words for a person.
    """
    if as_json and as_csv:
        raise ConfigError(
            "the form of the answer", found="--json and --csv", wanted="one of them", mend="ask one after the other"
        )
    told = list(rows if figures is None else figures)
    if as_json:
        console.print(json.dumps(told, indent=2, ensure_ascii=False, default=str), markup=False, highlight=False, soft_wrap=True)
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, list(told[0]) if told else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(told)
    else:
        tables.show(list(rows), title, console)
    return not (as_json or as_csv)


def caution(house: House, symbol: str) -> None:
    """Print what speaks against the figures of `symbol`, and that nothing is live where an experiment promotes nothing."""
    from quant_pipeline.orchestration.champions import nothing_live
    from quant_pipeline.orchestration.showing import warnings

    for line in warnings(house, symbol):
        say(console, Text(line, "bold red"))
    if told := nothing_live(house, symbol):
        say(console, Text(told, "yellow"))


@contextmanager
def real_console(shown: Console) -> Iterator[Console]:
    """A console on the real standard output: Dagster lets that go into a file while a step runs. `shown` where there is none."""
    try:
        sys.stdout.flush()  # what waits there comes first
        real = os.dup(sys.stdout.fileno())
    except io.UnsupportedOperation:
        yield shown
        return
    with os.fdopen(real, "w", encoding=sys.stdout.encoding) as output:
        yield Console(file=output, width=None if shown.is_terminal else shown.width)
