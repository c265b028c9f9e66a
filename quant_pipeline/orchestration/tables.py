"""Rows as a table for the terminal, in which no cell is ever cut, and sentences, in which no word is."""

from __future__ import annotations

import textwrap
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

ENDLESS = 100_000
"""Columns of a page that nobody looks at: of a pipe or a file."""


def show(rows: list[dict[str, Any]], title: str, console: Console) -> None:
    """Print `rows` as a table: as wide as it takes where no terminal ends the line, as blocks where that is too narrow.

    Text is shown as it is; what is to be coloured comes as `Text`.
    """
    if title:
        say(console, Text(title, "italic"))
    shown = _table(rows)
    least, most = Measurement.get(console, console.options.update(max_width=ENDLESS), shown)
    if not console.is_terminal:
        console.print(_Wide(shown, most), crop=False)
    else:
        console.print(shown if least <= console.width else _blocks(rows))


def say(console: Console, text: Text) -> None:
    """Print sentences, folded between words where a terminal ends the line; what is longer, such as a path, stays whole."""
    folded = text.copy()
    if console.is_terminal:
        folded.plain = "\n".join(_fold(line, console.width) for line in text.plain.splitlines())
    console.print(folded, highlight=False, soft_wrap=True)


def _fold(line: str, width: int) -> str:
    return textwrap.fill(line, width, replace_whitespace=False, break_long_words=False, break_on_hyphens=False)


class _Wide:
    """A table at its own width, whatever that of the console is."""

    def __init__(self, content: Table, width: int) -> None:
        self.content, self.width = content, width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.content, options.update(width=self.width, max_width=self.width))


def _table(rows: list[dict[str, Any]]) -> Table:
    """One column per key of the first row, no narrower than its words; rows whose cells hold several lines are ruled off."""
    tall = any("\n" in str(value) for row in rows for value in row.values())
    shown = Table(box=box.SIMPLE_HEAD, show_lines=tall, pad_edge=False)
    for name in rows[0] if rows else ["nothing here"]:
        shown.add_column(escape(name), min_width=max(map(len, name.split()), default=0), overflow="fold")
    for row in rows:
        shown.add_row(*map(_cell, row.values()))
    return shown


def _blocks(rows: list[dict[str, Any]]) -> Group:
    """One line a cell, its name before it; a line of nothing after each row."""
    lines: list[RenderableType] = []
    for row in rows:
        for name, value in row.items():
            lines.append(Text.assemble((" ".join(name.split()) or "about", "bold"), ": ", _joined(_cell(value))))
        lines.append("")
    return Group(*lines)


def _joined(cell: Text) -> Text:
    """A cell of several lines as one."""
    return Text("; ").join(cell.split("\n"))


def _cell(value: Any) -> Text:
    return value if isinstance(value, Text) else Text(str(value))
