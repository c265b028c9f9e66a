"""What all assets have in common: group, owner, kinds, code version, where the value is kept, and the house they work in."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Literal, cast

import dagster as dg

from quant_pipeline.orchestration.closure import Opened
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.moments import pinned
from quant_pipeline.orchestration.reading import limited
from quant_pipeline.orchestration.versions import code_version

OWNERS = ["team:quant"]
MANAGERS = {"table": "io_manager", "folder": "folder_io_manager"}
Body = Callable[..., Any]


def described(
    group: str,
    house: House,
    *,
    reads: Sequence[str] = (),
    opened: Opened | None = None,
    kinds: set[str] | None = None,
    stored: Literal["table", "folder"] | None = None,
    **arguments: Any,
) -> Callable[[Body], dg.AssetsDefinition]:
    """`dg.asset` with what every asset of this house sets; `stored` says how its value is kept, None that it keeps itself.

    Args:
        group: asset group.
        house: whose settings the code version covers.
        reads: the settings that the body may read: fields of the experiment, and `symbol.<field>`; see `reading.py`.
        opened: what a registry opens for this asset; see `closure.code_behind`.
        kinds: tags on the asset's node in the graph, beside python.
        stored: `table` (Parquet) or `folder`.
        arguments: of `dg.asset`.
    """
    if stored:
        # a stored value is polars or a model: Dagster's own check would compare it with a sentinel by `!=`
        arguments |= {"io_manager_key": MANAGERS[stored], "dagster_type": dg.Any, "metadata": {"quant/stored": stored}}

    def define(body: Body) -> dg.AssetsDefinition:
        version = code_version(body, house, reads, opened)
        made = dg.asset(group_name=group, owners=OWNERS, kinds={"python", *(kinds or set())}, code_version=version, **arguments)
        return cast("dg.AssetsDefinition", made(at_work(body, reads, str(arguments.get("name") or arguments.get("key") or ""))))

    return define


def at_work(body: Body, reads: Sequence[str], name: str = "") -> Body:
    """`body` in a house whose clock stands at the run's moment, and in which only the declared settings can be read.

    `name` is what errors call the asset; by default that of `body`.
    """
    if "house" not in inspect.signature(body).parameters:
        return body

    def working(*given: Any, house: House, **inputs: Any) -> Any:
        there = pinned(house, dg.AssetExecutionContext.get())
        return body(*given, house=limited(there, reads, name or body.__name__), **inputs)

    def yielding(*given: Any, house: House, **inputs: Any) -> Iterator[Any]:
        yield from working(*given, house=house, **inputs)

    # Dagster tells one output from several by whether the function is a generator
    return wraps(body)(yielding if inspect.isgeneratorfunction(body) else working)
