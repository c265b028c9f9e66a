"""What all assets have in common: group, owner, kinds, code version and where the value is kept."""

from collections.abc import Callable
from typing import Any, Literal, cast

import dagster as dg

OWNERS = ["team:quant"]
MANAGERS = {"table": "io_manager", "folder": "folder_io_manager"}


def described(
    group: str, version: str, *, kinds: set[str] | None = None, stored: Literal["table", "folder"] | None = None, **arguments: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """`dg.asset` with what every asset of this house sets; `stored` says how its value is kept, None that it keeps itself.

    Args:
        group: asset group.
        version: code version, see `versions.code_version`.
        kinds: tags on the asset's node in the graph, beside python.
        stored: `table` (Parquet) or `folder`.
        arguments: of `dg.asset`.
    """
    if stored:
        # a stored value is polars or a model: Dagster's own check would compare it with a sentinel by `!=`
        arguments |= {"io_manager_key": MANAGERS[stored], "dagster_type": dg.Any, "metadata": {"quant/stored": stored}}
    made = dg.asset(group_name=group, owners=OWNERS, kinds={"python", *(kinds or set())}, code_version=version, **arguments)
    return cast("Callable[[Callable[..., Any]], dg.AssetsDefinition]", made)
