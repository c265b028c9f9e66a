"""What an asset may read of the settings: what it declares, and nothing else.

The code version of an asset covers what it declares. Anything else is not there when its body runs, so a declaration
that is too short fails the first time, instead of leaving old values that look fresh.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.model import Settings
from quant_pipeline.config.universe import Instrument, Symbol, Universe
from quant_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from quant_pipeline.orchestration.house import House

S = TypeVar("S", bound=Settings)
OF_SYMBOL = "symbol."
EXPERIMENT = tuple(Experiment.model_fields)
EVERYTHING = (*EXPERIMENT, *(OF_SYMBOL + name for name in Symbol.model_fields))


def settings_read(house: House, reads: Iterable[str]) -> str:
    """The declared settings as text, equal for equal settings: fields of the experiment, and `symbol.<field>` of all symbols."""
    experiment, instrument = _parted(reads)
    unknown = sorted(set(reads) - set(EVERYTHING))
    if unknown:
        raise ConfigError(
            "reads of an asset", found=", ".join(unknown), wanted="fields of Experiment or Symbol", mend="correct its `reads`"
        )
    told: dict[str, Any] = {"experiment": house.experiment.model_dump(mode="json", include=experiment)}
    for name in house.universe.names if instrument else ():
        told[name] = house.universe.instrument(name).model_dump(mode="json", include=instrument)
    return json.dumps(told, sort_keys=True)


def limited(house: House, reads: Iterable[str], reader: str) -> House:
    """The house with only the declared settings in it; reading another one raises `ConfigError` that names `reader`."""
    experiment, instrument = _parted(reads)
    universe = Universe.model_construct(
        symbols={name: _limited(symbol, instrument, reader) for name, symbol in house.universe.symbols.items()},
        auxiliary={name: _limited(other, instrument, reader) for name, other in house.universe.auxiliary.items()},
    )
    return house.like(experiment=_limited(house.experiment, {"name", *experiment}, reader), universe=universe)


def _parted(reads: Iterable[str]) -> tuple[set[str], set[str]]:
    declared = set(reads)
    instrument = {name.removeprefix(OF_SYMBOL) for name in declared if name.startswith(OF_SYMBOL)}
    return {name for name in declared if not name.startswith(OF_SYMBOL)}, instrument


def _limited(settings: S, allowed: set[str], reader: str) -> S:
    kept = {name: value for name, value in settings.__dict__.items() if name in allowed}
    made = _limiting(type(settings), reader).model_construct(_fields_set=set(kept), **kept)
    for name in set(made.__dict__) - set(kept):  # defaults
        del made.__dict__[name]
    return made  # type: ignore[return-value]


@cache
def _limiting(kind: type[Settings], reader: str) -> type[Settings]:
    def missing(self: Settings, name: str) -> Any:
        if name not in kind.model_fields:
            raise AttributeError(name)
        place = OF_SYMBOL if isinstance(self, Instrument) else ""
        raise ConfigError(
            f"asset {reader}", found=f"a read of {kind.__name__}.{name}", wanted="only settings that its `reads` declare",
            mend=f"add {place + name!r} to the `reads` of the asset in quant_pipeline/orchestration/assets",
        )  # fmt: skip

    return type(kind.__name__, (kind,), {"__getattr__": missing, "__module__": __name__})
