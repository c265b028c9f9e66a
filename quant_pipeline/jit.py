"""The one way this package compiles a numeric kernel.

Kernels release the GIL, so two run side by side on two cores, and are cached on disk, so only the first
run on a machine pays for compilation. `fastmath` stays off: it would break NaN handling and bit equality.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile `function` with Numba; its signature and type hints stay as they are."""
    return cast("Kernel", numba.njit(cache=True, nogil=True)(function))
