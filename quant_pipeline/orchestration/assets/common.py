"""What all assets have in common: group, owner, kinds, code version and where the value is kept."""

from typing import Any, Literal

import dagster as dg

OWNERS = ["team:quant"]


def described(
    group: str, version: str, *, kinds: set[str] | None = None, stored: Literal["table", "folder"] | None = None
) -> dict[str, Any]:
    """Keyword arguments of `dg.asset` that every asset sets; `stored` also chooses the IO manager."""
    metadata = {"quant/stored": stored} if stored else {}
    managers = {"table": "io_manager", "folder": "folder_io_manager"}
    # a stored value is polars or a model: Dagster's own check would compare it with a sentinel by `!=`
    manager = {"io_manager_key": managers[stored], "dagster_type": dg.Any} if stored else {}
    return {
        "group_name": group, "owners": OWNERS, "kinds": {"python", *(kinds or set())}, "code_version": version, "metadata": metadata, **manager,
    }
