"""The store of embeddings: one HDF5 file per encoder, a row per distinct text, computed once and never again.

The file is never changed in place, for a killed writer can leave HDF5 unreadable: each batch is written to a new file that
then takes its place. A kill loses the batch that was being computed, and nothing that was stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from quant_pipeline.errors import DataError, MissingUpstreamError
from quant_pipeline.files import BLANK_SEAL, damaged, locked, replacing, seal, stands, verify
from quant_pipeline.ledger import Ledger

if TYPE_CHECKING:
    from quant_pipeline.features.kernels import FloatArray
    from quant_pipeline.features.text.encoder import Encoder, Progress
    from quant_pipeline.features.text.sentiment import Float32s

FLUSH = 512
"""Texts computed between two writes: half a minute of FinBERT on two cores, against a rewrite of some 30 ms."""
_LIBRARIES = ("torch", "transformers", "tokenizers", "h5py")
_HASH = "S32"
_MEND = "restore it from a backup, or delete it; its embeddings are then computed again"


@dataclass(frozen=True, eq=False)
class _Table:
    """What the file holds: (n,) keys, (n, d) embeddings, (n,) sentiments."""

    model: str
    key: npt.NDArray[np.bytes_]
    embedding: Float32s
    sentiment: FloatArray

    def rows(self) -> dict[bytes, int]:
        return {bytes(key): row for row, key in enumerate(self.key)}

    def joined(self, other: _Table) -> _Table:
        """This table and the rows of `other` that it lacks."""
        known = self.rows()
        new = [row for row, key in enumerate(other.key) if bytes(key) not in known]
        return _Table(
            self.model,
            np.concatenate((self.key, other.key[new])),
            np.concatenate((self.embedding, other.embedding[new])),
            np.concatenate((self.sentiment, other.sentiment[new])),
        )


@dataclass(frozen=True)
class EmbeddingStore:
    """Embeddings and sentiment by text in the HDF5 file `path`, all of one encoder.

    Datasets: `text_hash` (n,) 32 hex digits, `embedding` (n, d) float32, `sentiment` (n,) float64.
    Attributes: `model` (the encoder's id), `dimension`, `libraries` (versions, JSON), `seal` (of the whole file).
    """

    path: Path

    def ensure(self, texts: Sequence[str], encoder: Encoder, progress: Progress | None = None) -> Ledger:
        """Compute and store what is missing of `texts`, `FLUSH` texts at a time; a killed run resumes where it was.

        Args:
            texts: in any order, repeats allowed.
            encoder: whose id must be that of the file.
            progress: called with (texts done, texts to compute) after every batch.

        Returns:
            Ledger: rows_in texts, dropped `repeated` and `stored`; rows_out were computed.

        Raises:
            DataError: a damaged file, or one of another encoder; neither is ever overwritten.
            StorageError: the disk refuses; what was stored stays.
        """
        if not stands(self.path):
            self._add([], encoder)  # so that a symbol without articles has a file too
        known = self._of(encoder).rows()
        distinct = list(dict.fromkeys(texts))
        missing = [text for text in distinct if text_hash(text) not in known]
        ledger = Ledger(rows_in=len(texts))
        ledger.drop("repeated", len(texts) - len(distinct))
        ledger.drop("stored", len(distinct) - len(missing))
        for first in range(0, len(missing), FLUSH):
            self._add(missing[first : first + FLUSH], encoder)
            if progress is not None:
                progress(min(first + FLUSH, len(missing)), len(missing))
        return ledger

    def lookup(self, texts: Sequence[str]) -> tuple[Float32s, FloatArray]:
        """(n, d) float32 embeddings and (n,) sentiments of n texts, in their order.

        Raises:
            MissingUpstreamError: no file, or texts that were never computed.
            DataError: a damaged file.
        """
        if not stands(self.path):
            raise self._incomplete("no file")
        stored = _read(self.path)
        known = stored.rows()
        rows = [known.get(text_hash(text), -1) for text in texts]
        if -1 in rows:
            raise self._incomplete(f"{rows.count(-1)} of {len(rows)} texts missing, the first {texts[rows.index(-1)]!r}")
        return stored.embedding[rows], stored.sentiment[rows]

    def model(self) -> str | None:
        """Id of the encoder whose embeddings these are; None while there is no file."""
        return _read(self.path).model if stands(self.path) else None

    def _of(self, encoder: Encoder) -> _Table:
        """What is stored, which must be of `encoder`."""
        if not stands(self.path):
            empty = np.empty((0, encoder.dimension), np.float32)
            return _Table(encoder.id, np.empty(0, _HASH), empty, np.empty(0))
        stored = _read(self.path)
        if stored.model != encoder.id:
            raise DataError(
                str(self.path), found=f"embeddings of {stored.model}", wanted=f"those of {encoder.id}",
                mend="set `encoder` back, give the new one a file of its own, or delete this file to compute all anew",
            )  # fmt: skip
        return stored

    def _add(self, texts: Sequence[str], encoder: Encoder) -> None:
        computed = encoder.analyse(texts)
        key = np.array([text_hash(text) for text in texts], _HASH)
        new = _Table(encoder.id, key, computed.embedding, computed.sentiment)
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            _write(self.path, self._of(encoder).joined(new))

    def _incomplete(self, found: str) -> MissingUpstreamError:
        return MissingUpstreamError(
            f"embeddings {self.path}", found=found, wanted="every text that is asked for",
            mend="materialize news_embeddings first",
        )  # fmt: skip


def text_hash(text: str) -> bytes:
    """32 hex digits by which a text is found."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest().encode()


def _write(path: Path, table: _Table) -> None:
    import h5py

    with replacing(path) as temporary:
        with h5py.File(temporary, "w") as file:
            file.attrs["model"] = table.model
            file.attrs["dimension"] = table.embedding.shape[1]
            file.attrs["libraries"] = json.dumps({name: version(name) for name in _LIBRARIES})
            file.attrs["seal"] = np.bytes_(BLANK_SEAL)
            for name, values in (("text_hash", table.key), ("embedding", table.embedding), ("sentiment", table.sentiment)):
                file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=True)
        seal(temporary)


def _read(path: Path) -> _Table:
    import h5py

    verify(path, _MEND)
    try:
        with h5py.File(path, "r") as file:
            return _Table(str(file.attrs["model"]), *(_dataset(file, name) for name in ("text_hash", "embedding", "sentiment")))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:  # of a file that we did not write
        raise damaged(path, f"{type(error).__name__}: {error}", _MEND) from error


def _dataset(file: Any, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = file[name][:]
    return values
