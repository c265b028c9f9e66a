"""Named feature sets: which columns a kind of model looks at, declared by prefix in `feature_sets.yaml`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from quant_pipeline.config.model import Settings, read_yaml
from quant_pipeline.errors import ConfigError

FEATURE_SETS = Path(__file__).with_name("feature_sets.yaml")
DEFAULT = "default"


class FeatureSet(Settings):
    """A choice of columns.

    Attributes:
        description: whom it is for, and which document says so.
        counted: how many columns the documents say it has.
        include_prefixes: a column that starts with one of them is in.
        include_columns: so is one of these.
        exclude_prefixes: but none that starts with one of these.
        rungs: rungs that count, None for all; columns of no rung always count.
    """

    description: str
    counted: str
    include_prefixes: tuple[str, ...] = ()
    include_columns: tuple[str, ...] = ()
    exclude_prefixes: tuple[str, ...] = ()
    rungs: tuple[str, ...] | None = None

    def members(self, columns: Sequence[str], ladder: Sequence[str]) -> tuple[str, ...]:
        """Those of `columns` that are in the set, in their order; `ladder` tells which endings are rungs."""
        shut = tuple(f"_{rung}" for rung in ladder if self.rungs is not None and rung not in self.rungs)
        return tuple(name for name in columns if self._named(name) and not (shut and name.endswith(shut)))

    def _named(self, name: str) -> bool:
        included = name in self.include_columns or name.startswith(self.include_prefixes)
        return included and not (self.exclude_prefixes and name.startswith(self.exclude_prefixes))


@cache
def feature_sets() -> dict[str, FeatureSet]:
    """Every set by name; raises `ConfigError` for a file that cannot be used."""
    told = read_yaml(FEATURE_SETS)
    return {name: FeatureSet.parse(value, f"{FEATURE_SETS.name}: {name}") for name, value in told.items()}


def feature_set(name: str) -> FeatureSet:
    """The set `name`; raises `ConfigError` naming the nearest one."""
    known = feature_sets()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    raise ConfigError(
        f"feature set {name!r}", found="no such set", wanted=f"one of {', '.join(known)}",
        mend=f"did you mean {near[0]!r}?" if near else f"add it to {FEATURE_SETS}",
    )  # fmt: skip
