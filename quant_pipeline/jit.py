"""The one way this package compiles a numeric kernel.

Kernels release the GIL, so two run side by side on two cores, and are cached on disk, so only the first
run on a machine pays for compilation. `fastmath` stays off: it would break NaN handling and bit equality.

Numba stamps a cached kernel with its own file alone, though it holds the code of every kernel it calls. The cache is
therefore kept in a folder named by all files with kernels: after any edit of one, all are compiled anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_PACKAGE = Path(__file__).parent


def _sources() -> str:
    """Twelve hex digits over every file of the package that has a kernel."""
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        text = file.read_bytes()
        if b"@compiled" in text:
            digest.update(file.relative_to(_PACKAGE).as_posix().encode() + text)
    return digest.hexdigest()[:12]


def _cache() -> Path:
    given = os.environ.get("NUMBA_CACHE_DIR")
    return Path(given or _PACKAGE / "__pycache__") / f"kernels-{_sources()}"


KERNELS = _cache()
"""The folder that holds the compiled kernels of these sources."""
numba.config.CACHE_DIR = str(KERNELS)  # type: ignore[attr-defined]


def compiled(function: Kernel) -> Kernel:
    """Compile `function` with Numba; its signature and type hints stay as they are."""
    return cast("Kernel", numba.njit(cache=True, nogil=True)(function))
