"""Code versions: a hash of the code that an asset's value depends on, and of the settings that it reads.

Dagster compares them with those of the last materialization, so an edit or a changed setting shows as
"unsynced" in the UI, and `quant run` recomputes exactly what it touches. Neither is listed by hand: the code is what the
asset's body imports (`closure.py`), and a setting that is not declared cannot be read (`reading.py`).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pydantic

from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.closure import Opened, code_digest
from quant_pipeline.orchestration.reading import settings_read

if TYPE_CHECKING:
    from quant_pipeline.orchestration.house import House

_PLAIN = str | int | float | bool | None


def code_version(body: Callable[..., Any], house: House, reads: Iterable[str], opened: Opened | None = None) -> str:
    """Twelve hex digits over the code behind `body`, the settings that it declares, and what it closes over.

    Args:
        body: an asset's function.
        house: whose settings count.
        reads: fields of the experiment, and `symbol.<field>` of the universe's symbols.
        opened: see `code_behind`.
    """
    digest = hashlib.sha256(settings_read(house, reads).encode())
    digest.update(code_digest(body, opened).encode())
    for name, value in sorted(inspect.getclosurevars(inspect.unwrap(body)).nonlocals.items()):
        digest.update(f"\n{name}={_text(name, value)}".encode())
    return digest.hexdigest()[:12]


def _text(name: str, value: object) -> str:
    """A text that is equal for equal values; an object without one would leave its content out of the version."""
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump_json()
    if isinstance(value, Mapping):
        return repr(sorted((str(key), _text(name, one)) for key, one in value.items()))
    if isinstance(value, tuple | list):
        return repr([_text(name, one) for one in value])
    if isinstance(value, _PLAIN):
        return repr(value)
    raise ConfigError(
        f"asset variable {name!r}", found=f"a {type(value).__name__} from outside the body", wanted="plain values or settings",
        mend="make it inside the asset's body",
    )  # fmt: skip
