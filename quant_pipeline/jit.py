"""The one way this package compiles a numeric kernel.

Kernels release the GIL, so two run side by side on two cores, and are cached on disk, so only the first
run on a machine pays for compilation. `fastmath` stays off: it would break NaN handling and bit equality.

Numba stamps a cached kernel with its own file alone, though it holds the code of every kernel it calls. The cache is
therefore kept in a folder named by all files with kernels: after any edit of one, all are compiled anew.

Nor does it ask the disk to have what it wrote, or look whether it has: so every file of the cache ends with the SHA-256 of
what stands before it, and one that a power cut left otherwise counts as absent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_PACKAGE = Path(__file__).parent
_DIGEST = hashlib.sha256().digest_size


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


class _Sealed(IndexDataCacheFile):
    """The files of one kernel. Whoever reads a pickle does not mind what stands behind it."""

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BytesIO]:
        content = BytesIO()
        yield content
        with super()._open_for_write(filepath) as stream:
            stream.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if _is_whole(Path(self._index_path)) else {}

    def _load_data(self, name: str) -> Any:
        return super()._load_data(name) if _is_whole(Path(self._data_path(name))) else None


def _is_whole(path: Path) -> bool:
    content = path.read_bytes() if path.exists() else b""
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Sealed(self.cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())


def compiled(function: Kernel) -> Kernel:
    """Compile `function` with Numba; its signature and type hints stay as they are."""
    kernel: Any = numba.njit(nogil=True)(function)
    kernel._cache = _Cache(function)  # noqa: SLF001 - what `cache=True` does, with another class
    return cast("Kernel", kernel)
