"""Code versions: a hash of the rooms an asset's value depends on, and of the settings it reads.

Dagster compares them with those of the last materialization, so an edit or a changed setting shows as
"unsynced" in the UI, and `quant run` recomputes exactly what it touches.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pydantic

PACKAGE = Path(__file__).parents[1]


@cache
def _source_digest(room: str) -> str:
    place = PACKAGE / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(PACKAGE).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def code_version(*rooms: str, settings: tuple[object, ...] = ()) -> str:
    """Twelve hex digits over the sources of `rooms` (folders or modules, by path without suffix) and `settings`."""
    digest = hashlib.sha256()
    for room in rooms:
        digest.update(_source_digest(room).encode())
    for setting in settings:
        text = setting.model_dump_json() if isinstance(setting, pydantic.BaseModel) else repr(setting)
        digest.update(text.encode())
    return digest.hexdigest()[:12]
