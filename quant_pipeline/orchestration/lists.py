"""Rows of the commands that tell what there is: symbols, models, features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quant_pipeline import plugins
from quant_pipeline.errors import ConfigError
from quant_pipeline.features import listing

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import Experiment
    from quant_pipeline.config.universe import Universe


def symbol_rows(universe: Universe) -> list[dict[str, Any]]:
    """One row per traded symbol: calendar, costs, correlated symbols and risk profile."""
    return [
        {
            "symbol": name,
            "calendar": s.calendar,
            "round trip": f"{s.costs.round_trip * 10_000:g} bps",
            "correlated": ", ".join(s.correlated),
            "max leverage": f"{s.risk.max_leverage:g}x",
            "max position": f"{s.risk.max_position_pct:g} %",
            "": s.description,
        }
        for name, s in universe.symbols.items()
    ]


def model_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """One row per registered model, and whether the experiment trains it."""
    from quant_pipeline.models import registry

    chosen = {model.name for model in experiment.models}
    return [
        {
            "model": name,
            "family": spec.family,
            "view": spec.view,
            "outputs": " ".join(spec.outputs),
            "trained here": "yes" if name in chosen else "no",
            **plugins.told(registry.get(name).__module__),
        }
        for name in registry.names()
        if (spec := registry.spec(name))
    ]


def plugin_lines(experiment: Experiment) -> list[str]:
    """A line per plugin: the features and models that it brings, or that there are none, and what the experiment leaves out.

    Raises:
        ConfigError: a plugin that cannot be used.
    """
    from quant_pipeline.features.registry import specs
    from quant_pipeline.models import registry

    chosen = {*experiment.features.families, *(model.name for model in experiment.models)}
    brought = [
        *((spec.function.__module__, f"feature {spec.name}", spec.family in chosen) for spec in specs()),
        *((registry.get(name).__module__, f"model {name}", name in chosen) for name in registry.names()),
    ]
    return [
        f"{path}: {', '.join(_brought(what, used) for module, what, used in brought if module == name) or 'no feature, no model'}"
        for name, path in plugins.modules().items()
    ]


def _brought(what: str, used: bool) -> str:  # noqa: FBT001 - one of two texts
    return what if used else f"{what} (not in this experiment)"


def features_asked(
    experiment: Experiment,
    universe: Universe,
    *,
    symbol: str | None = None,
    family: str | None = None,
    chosen_set: str | None = None,
    sets: bool = False,
    documents: bool = False,
) -> listing.Listing:
    """What `quant features` prints for its options.

    Args:
        experiment: rungs and families.
        universe: tells the symbols correlated with `symbol`, by default its first one.
        symbol: whose columns are counted.
        family: only this one, in any of the listings.
        chosen_set: the features of this set.
        sets: one row per set.
        documents: the documents' inputs against ours.

    Raises:
        ConfigError: an unknown symbol, family or set, with the nearest name; more than one of the last three.
    """
    name = symbol or next(iter(universe.symbols))
    others = universe.symbol(name).correlated
    asked = [flag for flag, given in (("--set", chosen_set is not None), ("--sets", sets), ("--documents", documents)) if given]
    if len(asked) > 1:
        raise ConfigError("quant features", found=" and ".join(asked), wanted="one of them", mend="ask one after the other")
    if chosen_set is not None:
        return listing.set_listing(experiment, name, others, chosen_set, family)
    if sets:
        return listing.sets_listing(experiment, name, others, family)
    if documents:
        return listing.documents_listing(experiment, name, others, family)
    return listing.feature_listing(experiment, others, family)
