"""The sentences that end `quant run`: the verdict in words and money, the signal explained, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from quant_pipeline.backtest.money import MONEY
from quant_pipeline.backtest.verdicts import ENSEMBLE, HEADLINES, between, followed, judged, look_up, models, number, tone
from quant_pipeline.config.commands import command
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.inference.signals import Signal
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.showing import ACTIONS, SPANS, asked_signal, market, odds, skill_page, skill_table
from quant_pipeline.orchestration.web import page_url
from quant_pipeline.validation.skill_table import POOLED

COLOURS = {"above": "green", "chance": "yellow", "below": "red"}


def closing(house: House, symbol: str, *, signal: bool) -> list[Text]:
    """Two or three sentences; that of the signal only where this run was to emit one."""
    said = [_verdict(house, symbol)]
    if signal:
        said.append(signal_sentence(asked_signal(house, symbol)))
    page, report = place_of(house, skill_page(house, symbol)), command(f"quant report '{symbol}'")
    predict = command(f"quant predict '{symbol}'")
    after = "" if signal else f"`{predict}` makes the signal of the newest bar, "
    return [*said, Text(f"Next: {after}`{report}` shows the whole table; the report page is\n{page}")]


def _verdict(house: House, symbol: str) -> Text:
    table = skill_table(house, symbol)
    name = ENSEMBLE if ENSEMBLE in models(table) else models(table)[0]
    span = POOLED if look_up(table, name, POOLED, "ic") else HOLDOUT
    direction = look_up(table, name, span, "ic")
    money = next((row for line in ("signals", name) if (row := look_up(table, line, span, MONEY))), None)
    paid = followed(money, "its rule for signals") if money else "No money was counted."
    words = f"{symbol} ({market(house)}), {SPANS[span]}: the {name} has {_direction(direction)}. {paid}"
    return Text(words, COLOURS[judged(direction, money)])


def _direction(row: dict[str, Any] | None) -> str:
    if row is None or row["low"] is None:
        return "too few independent hours for a verdict on direction"
    figures = f"rank IC {number(row['value'], 'ic')}, 95 % interval {between(row)}, where 0 is chance and +1 perfect"
    return f"{HEADLINES[tone(row)]} ({figures})"


def signal_sentence(signal: Signal) -> Text:
    """A signal in words: what to do when and how much, how likely it is to come right, and why."""
    head = f"{signal.symbol}{' (SIMULATED)' if signal.simulated else ''}, decided {signal.as_of:%Y-%m-%d %H:%M} UTC"
    if signal.status != "ok":
        return Text(f"Signal: none for {head}, status {signal.status}: {signal.reason}.", "yellow")
    entry = f" at the open of {signal.entry_from:%H:%M} UTC" if signal.entry_from else ""
    size = f"{entry} with {signal.equity_share:.1%} of equity" if signal.action else ", do nothing"
    return Text(
        f"Signal: {ACTIONS[signal.action]} {head}{size}. Which barrier comes first: {odds(signal)}. Why: {signal.reason}."
    )


def place_of(house: House, page: Path) -> str:
    """A report page's file, and its address while `quant ui` runs, a line each: both are there to be copied."""
    return f"{page}\n{page_url(page, house.workplace.pages.absolute())} (while `quant ui` runs)"
