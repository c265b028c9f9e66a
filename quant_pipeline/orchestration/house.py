"""The house: workplace, universe and experiment in one resource, and the few lookups that assets share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from quant_pipeline.config.experiment import Experiment, load_experiment
from quant_pipeline.config.universe import Symbol, Universe, load_universe
from quant_pipeline.config.workplace import Workplace, training_cutoff, workplace
from quant_pipeline.files import aware, read_state, replacing, stands, write_state, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_pipeline.config.experiment import FeatureSettings
    from quant_pipeline.features.context import Context
    from quant_pipeline.inference.account import Desk
    from quant_pipeline.inference.bundle import Bundle
    from quant_pipeline.inference.champion import ChampionHistory
    from quant_pipeline.inference.predictor import Predictor
    from quant_pipeline.inference.signals import SignalStore
    from quant_pipeline.sources.base import MarketSource
    from quant_pipeline.sources.store import RawStore

BEFORE_ALL = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class House:
    """Everything an asset may ask for besides its inputs. Built once per code location; holds no data.

    Attributes:
        workplace: folders and clock, settled in the world and the experiment of this house.
        universe: all symbols.
        experiment: what is trained and how.
        cutoffs: training cutoffs by symbol that a run has fixed; others follow from the clock.
        origin: the house that this one was narrowed from; it owns the source, whatever settings are in sight here.
    """

    workplace: Workplace
    universe: Universe
    experiment: Experiment
    cutoffs: Mapping[str, datetime] = field(default_factory=dict)
    origin: House | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.origin is None:
            object.__setattr__(self, "workplace", self.workplace.settled(self.experiment))

    def like(self, **changed: Any) -> Self:
        """This house with other `workplace`, `universe`, `experiment` or `cutoffs`, in the same place and on the same source."""
        return replace(self, origin=self.origin or self, **changed)

    def at(self, now: datetime, cutoffs: Mapping[str, datetime]) -> Self:
        """This house with its clock stopped at `now`, and its training cutoffs fixed."""
        return self.like(workplace=replace(self.workplace, as_of=now), cutoffs=cutoffs)

    def clock(self) -> datetime:
        """What the clock shows now, also where the house was stopped at the moment of a run."""
        return (self.origin or self).workplace.now()

    @cached_property
    def source(self) -> MarketSource:
        """The market source of the profile."""
        from quant_pipeline.sources.make import make_source

        if self.origin is not None:
            return self.origin.source
        return make_source(
            self.workplace.profile, self.universe, folder=self.workplace.bars_folder, simulated=self.experiment.simulated
        )

    @property
    def store(self) -> RawStore:
        """Raw bars as they came."""
        from quant_pipeline.sources.store import RawStore

        return RawStore(self.workplace.raw)

    @property
    def signals(self) -> SignalStore:
        """Signals already emitted."""
        from quant_pipeline.inference.signals import SignalStore

        return SignalStore(self.workplace.signals)

    @property
    def champions(self) -> ChampionHistory:
        """Which bundle was live since when."""
        from quant_pipeline.inference.champion import ChampionHistory

        return ChampionHistory(self.workplace.bundles / "champions")

    def desk(self) -> Desk:
        """Bars, signals, settings, news and releases, as the predictor and the replay want them."""
        from quant_pipeline.inference.account import Desk
        from quant_pipeline.orchestration.library import open_library

        return Desk(self.store, self.signals, self.universe, self.experiment, open_library(self))

    def predictor(self) -> Predictor:
        """Makes signals from the stores; writes nothing."""
        from quant_pipeline.inference.predictor import Predictor

        return Predictor(self.desk(), profile=self.workplace.profile, simulated=self.source.simulated)

    def live_bundle(self, symbol: str, moment: datetime) -> Bundle | None:
        """The bundle that is live for `symbol` at `moment`, every byte checked; None before the first."""
        live = self.champions.live_at(symbol, moment)
        return self.load_bundle(symbol, live) if live else None

    def load_bundle(self, symbol: str, bundle_id: str) -> Bundle:
        """A bundle of `symbol` by id; raises `BundleError` for a damaged one."""
        from quant_pipeline.inference.bundle import load_bundle

        return load_bundle(self.workplace.bundles / symbol / bundle_id)

    def context(self, symbol: str, features: FeatureSettings) -> Context:
        """What training reads besides bars for these features: since the start of its history, as known at its cutoff."""
        from quant_pipeline.inference.context import gather

        chosen = self.experiment.model_copy(update={"features": features})
        return gather(self.desk()._replace(experiment=chosen), symbol, self.history_start(symbol), self.cutoff(symbol))

    def symbol(self, name: str) -> Symbol:
        """The traded symbol `name`."""
        return self.universe.symbol(name)

    def horizon(self, symbol: str) -> datetime:
        """The newest moment that the source can tell about: now, or the end of the user's file."""
        return self.source.horizon(symbol, self.workplace.now())

    def cutoff(self, symbol: str) -> datetime:
        """Training uses bars known by this moment: Monday 00:00 UTC, or later where drift moved it."""
        if symbol in self.cutoffs:
            return self.cutoffs[symbol]
        moved = self.last_retrain(symbol)
        weekly = training_cutoff(self.horizon(symbol))
        return moved if moved and moved > weekly else weekly

    def move_cutoff(self, symbol: str, reason: str) -> datetime:
        """Let training see bars up to the last full hour, and store why; returns the new cutoff."""
        hour = self.horizon(symbol).replace(minute=0, second=0, microsecond=0)
        write_state(self._cutoff_path(symbol), {"cutoff": hour.isoformat(), "reason": reason})
        return hour

    def last_retrain(self, symbol: str) -> datetime | None:
        """When drift last moved the training cutoff."""
        path = self._cutoff_path(symbol)
        mend = "restore it from a backup, or delete it: training then goes back to the weekly cutoff"
        return read_state(path, mend, lambda told: aware(told["cutoff"])) if stands(path) else None

    def provenance(self, symbol: str) -> dict[str, str]:
        """What a report says about where its figures come from."""
        experiment, cutoff = self.experiment, self.cutoff(symbol)
        return {
            "profile": self.workplace.profile,
            "source": self.source.name,
            "experiment": experiment.name,
            "primary": experiment.primary,
            "training cutoff": f"{cutoff:%Y-%m-%d %H:%M} UTC",
            "seed": str(experiment.seed),
            "data fingerprint": self.store.fingerprint(symbol, until=cutoff)[:16],
        }

    def publish(self, symbol: str, name: str, page: str, png: bytes) -> Path:
        """Write a report's page and picture into the reports folder; returns the page's path."""
        folder = self.workplace.reports / symbol
        write_text(folder / f"{name}.html", page)
        with replacing(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
        return folder / f"{name}.html"

    def _cutoff_path(self, symbol: str) -> Path:
        return self.workplace.lake / "cutoffs" / f"{symbol}.json"

    def history_start(self, symbol: str) -> datetime:
        """The first moment that training looks at; without `history_days`, a time before any minute bar on record."""
        days = self.experiment.history_days
        return BEFORE_ALL if days is None else self.cutoff(symbol) - timedelta(days=days)


def make_house(
    *, workplace_: Workplace | None = None, universe: Universe | None = None, experiment: Experiment | None = None
) -> House:
    """A house from what is given; the rest comes from the environment."""
    return House(workplace_ or workplace(), universe or load_universe(), experiment or load_experiment())
