"""What is live for a symbol, as a person sees and chooses it: the history in rows, and a promotion by hand."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.errors import BundleError, MissingUpstreamError, QuantError
from quant_pipeline.files import read_parquet, replacing, stands

if TYPE_CHECKING:
    from quant_pipeline.inference.champion import Event
    from quant_pipeline.orchestration.house import House


def history_rows(events: Iterable[Event], holds: Event | None) -> list[dict[str, Any]]:
    """A row for each decision, oldest first; `holds` is the promotion that is in force."""
    return [
        {
            "since (UTC)": f"{event.since:%Y-%m-%d %H:%M}",
            "bundle": event.challenger,
            "trained to": f"{event.as_of:%Y-%m-%d %H:%M}",
            "decision": ("chosen by hand" if event.by_hand else "promoted") if event.promoted else "refused",
            "now": "live" if event == holds else "",
            "reason": event.reason,
        }
        for event in events
    ]


def live_version(holds: Event | None) -> dg.DataVersion:
    """The data version of `champion`: another one whenever another bundle is live, or the same one again."""
    told = f"{holds.challenger}{holds.since}" if holds else "nothing"
    return dg.DataVersion(hashlib.sha256(told.encode()).hexdigest())


def champion_rows(house: House, symbol: str) -> tuple[str, list[dict[str, Any]]]:
    """What is live for `symbol` in words, and its history."""
    house.symbol(symbol)
    holds = house.champions.promotion(symbol, house.workplace.now())
    place = f"{symbol}, profile {house.workplace.profile}, experiment {house.experiment.name}"
    live = f"live is {holds.challenger} since {holds.since:%Y-%m-%d %H:%M} UTC" if holds else "nothing is live"
    return f"{place}: {live}", history_rows(house.champions.events(symbol), holds)


def nothing_live(house: House, symbol: str) -> str | None:
    """One line for an experiment that promotes nothing and has nothing live; None for others."""
    if house.experiment.champion.auto or house.champions.live_at(symbol, house.workplace.now()):
        return None
    return (
        f"nothing is live for {symbol} in experiment {house.experiment.name} (champion.auto is false): "
        f"`quant champions {symbol}` lists its bundles, `quant promote {symbol} BUNDLE` chooses one"
    )


def promote(house: House, instance: dg.DagsterInstance, symbol: str, chosen: str, reason: str) -> Event:
    """Let a bundle be live for `symbol` from now on, and put it on record.

    Args:
        house: in whose experiment.
        instance: where runs of the experiment are recorded; it learns that `champion` is another.
        symbol: whose champion.
        chosen: id of a bundle of this experiment; or an experiment of the same market, by name or path, whose newest
            bundle is then copied here.
        reason: in the person's own words.

    Returns:
        The promotion that holds; a bundle that is live already keeps its own.

    Raises:
        BundleError: no such bundle; or one that is damaged, learned from what is still to come, or cannot answer here.
    """
    from quant_pipeline.inference.champion import Decision

    house.symbol(symbol)
    folder, now = _folder(house, symbol, chosen), house.workplace.now()
    learned = _demand_able(house, folder, now)
    holds = house.champions.promotion(symbol, now)
    if holds and holds.challenger == folder.name:
        return holds
    _bring(folder, house.workplace.bundles / symbol / folder.name)
    decision = Decision(True, f"by hand: {reason}")
    event = house.champions.record(symbol, folder.name, decision, as_of=learned, since=now, by_hand=True)
    tags = {"dagster/data_version": live_version(event).value}
    metadata = {"live": event.challenger, "reason": event.reason}
    instance.report_runless_asset_event(dg.AssetMaterialization("champion", partition=symbol, metadata=metadata, tags=tags))
    return event


def _folder(house: House, symbol: str, chosen: str) -> Path:
    """Where the chosen bundle lies: here, or with another experiment of this market."""
    from quant_pipeline.inference.bundle import MANIFEST

    own = house.workplace.bundles / symbol
    if (own / chosen / MANIFEST).is_file():
        return own / chosen
    known = sorted({event.challenger for event in house.champions.events(symbol)})
    try:
        other = load_experiment(chosen)
    except QuantError:
        raise BundleError(
            f"bundle {chosen} of {symbol}", found="none in this experiment, and no experiment of that name",
            wanted=f"one of {', '.join(known) or 'none yet'}, or an experiment by name or path",
            mend=f"look with: quant champions {symbol}",
        ) from None  # fmt: skip
    return _newest(replace(house, experiment=other, origin=None), house, symbol)


def _newest(other: House, house: House, symbol: str) -> Path:
    """The bundle that the newest report of another experiment is about; raises `BundleError` for one of another market."""
    name = other.experiment.name
    if other.workplace.shared != house.workplace.shared:
        raise BundleError(
            f"experiment {name}", found="bundles of another simulated market", wanted="bundles of this market",
            mend="give both experiments the same settings of `simulated`, then train again",
        )  # fmt: skip
    path = other.workplace.lake / "bundle" / f"{symbol}.parquet"
    if not stands(path):
        raise MissingUpstreamError(
            f"bundle of {symbol} in experiment {name}", found="none", wanted="a finished training",
            mend=f"run: quant train {symbol} --experiment {name}",
        )  # fmt: skip
    forecasts = read_parquet(path, f"run: quant train {symbol} --experiment {name}", columns=["bundle"])
    return other.workplace.bundles / symbol / str(forecasts["bundle"][0])


def _demand_able(house: House, folder: Path, now: datetime) -> datetime:
    """Refuse a bundle that is damaged, made by other features, or from the future; returns its training cutoff."""
    from quant_pipeline.inference.bundle import verify_bundle
    from quant_pipeline.inference.window import answers_for

    manifest, name = verify_bundle(folder), house.experiment.name
    if not answers_for(manifest, house.experiment):
        raise BundleError(
            f"bundle {folder.name}", found=f"one that was trained on other features than those of experiment {name}",
            wanted="features, ladder, primary, news, macro and foundation as in this experiment",
            mend="let that experiment be the live one: add --experiment to `quant ui` and `quant promote`",
        )  # fmt: skip
    learned = datetime.fromisoformat(manifest["as_of"])
    if learned > now:
        raise BundleError(
            f"bundle {folder.name}", found=f"a training up to {learned}", wanted=f"one up to {now} at the latest",
            mend="use no --as-of, or a later moment",
        )  # fmt: skip
    return learned


def _bring(folder: Path, home: Path) -> None:
    """Copy a bundle of another experiment here, whole or not at all."""
    if folder == home:
        return
    with replacing(home) as temporary:
        shutil.copytree(folder, temporary)
