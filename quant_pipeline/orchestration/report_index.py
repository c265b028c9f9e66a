"""The page that opens where report pages are served: what there is, by profile, world, experiment and symbol."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote, unquote

HEAD = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>Reports</title><style>:root { color-scheme: light dark; } body { max-width: 60rem; margin: 2rem auto; "
    "padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; } h2 { font-size: 1.1rem; margin: 1.5rem 0 0; } "
    "li { margin: 0.2rem 0; } a { margin-right: 1rem; }</style></head>\n<body><h1>Reports</h1>\n"
)
EMPTY = "<p>There is none yet: <code>quant run GC=F</code> makes the first.</p>"


def report_index(folder: Path) -> str:
    """Every report page below `folder`, with its address from there: a heading an experiment, a line a symbol."""
    pages = sorted(page.relative_to(folder) for page in folder.rglob("*.html"))
    told = [_experiment(place, group) for place, group in groupby(pages, lambda page: page.parts[:-2])]
    return HEAD + ("\n".join(told) or EMPTY) + "</body></html>\n"


def _experiment(place: Sequence[str], pages: Iterator[Path]) -> str:
    lines = "".join(_symbol(folder, group) for folder, group in groupby(pages, lambda page: page.parent))
    return f"<h2>{_words(' / '.join(place))}</h2>\n<ul>{lines}</ul>"


def _symbol(symbol: Path, pages: Iterator[Path]) -> str:
    links = "".join(f'<a href="{quote(page.as_posix())}">{_words(page.stem.replace("_", " "))}</a>' for page in pages)
    return f"<li><b>{_words(symbol.name)}</b> {links}</li>"


def _words(name: str) -> str:
    return html.escape(unquote(name))
