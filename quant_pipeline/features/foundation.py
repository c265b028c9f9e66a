"""Chronos-Bolt as a source of features: its encoder's embedding and its quantile forecast of the close, per primary bar.

A row comes from exactly the last `context` closes known at it, told as closes over the newest, less one: no older bar
and no price level reaches the model. Rows of equal windows are equal, and a window is computed once: the cache is keyed
by the model's own bytes and the window's. Weights are read from safetensors only. There is no family here: the table is
joined to the features where an experiment names a model, and absent where it does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.bars.moments import microseconds, require_columns, to_microseconds
from quant_pipeline.errors import ConfigError, DamagedError, DataError, ModelError
from quant_pipeline.files import damaged, read_json, read_parquet, sha256, write_parquet

if TYPE_CHECKING:
    from datetime import datetime

    import torch

QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}
CHUNK = 1_024
"""Windows held at once, and between two writes of the cache: what an interrupted run loses at most."""
KEY_BYTES = 16
"""128 bits: two windows with one key are out of reach."""

Float32s = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]


class FoundationEncoder:
    """A pretrained Chronos-Bolt model and what is asked of it.

    The order of additions inside a matrix product depends on its shape, so every batch is filled up to `batch` windows:
    a row has the same bits alone, as live inference asks for it, and among thousands. Another `batch` moves a row by
    less than 1e-5. A cache does not tell a GPU's rows from a CPU's.

    Args:
        path: folder with `config.json` and `*.safetensors`, or the id of a model hub such as amazon/chronos-bolt-tiny.
        context: closes that each row is made of; at most what the model was trained on.
        horizon: primary bars ahead that the quantiles are for; at most what the model was trained on.
        batch: windows that the model sees at once.

    Raises:
        ConfigError: a context, horizon or batch that is not positive.
        ModelError: at first use: no such model, not a Chronos-Bolt model, or one of shorter context or horizon.
    """

    def __init__(self, path: str | Path, context: int = 512, horizon: int = 5, batch: int = 16) -> None:
        for name, value in (("context", context), ("horizon", horizon), ("batch", batch)):
            if value < 1:
                raise ConfigError(f"foundation.{name}", found=value, wanted="1 or more", mend="edit the experiment")
        self.path, self.context, self.horizon, self.batch = str(path), context, horizon, batch

    @cached_property
    def folder(self) -> Path:
        """Where the model's files are; a hub id is downloaded on first use."""
        if not Path(self.path).is_dir():
            return _download(self.path)
        return Path(self.path)

    @cached_property
    def identity(self) -> str:
        """Hex digest of what decides a row besides its window: the model's files, context and horizon."""
        self._settings  # noqa: B018 - refuses a folder that is not a usable model
        files = [self.folder / "config.json", *sorted(self.folder.glob("*.safetensors"))]
        told = json.dumps([[file.name, sha256(file)] for file in files] + [self.context, self.horizon])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values of a row: quantiles, then the embedding (as many as the model is wide)."""
        width = int(self._settings["d_model"])
        return (*(f"foundation_{name}" for name in QUANTILES), *(f"foundation_e{i:03d}" for i in range(width)))

    def encode(
        self,
        bars: pl.DataFrame,
        since: datetime | None = None,
        cache: Path | None = None,
        progress: Progress | None = None,
    ) -> pl.DataFrame:
        """Embed and forecast the close at every primary bar.

        Args:
            bars: RUNG BARS of the primary rung: timestamp, known_at and close, sorted.
            since: only decisions later than this; earlier bars still fill the first windows.
            cache: folder of cached rows, one Parquet file per model; None computes everything.
            progress: called with windows done and windows in all, now and then.

        Returns:
            timestamp, decision_at (the bar's known_at), foundation_q10, q50, q90: quantiles of the simple return from the
            bar's close to the close `horizon` bars later, sorted; foundation_e000…: mean of the encoder's states over the
            patches. Float64; null while fewer than `context` bars came before.

        Raises:
            DataError: missing columns, a close that is not positive and finite, a cache that cannot be read.
            ModelError: the model cannot be used.
        """
        require_columns(bars, ("timestamp", "known_at", "close"), "bars of the foundation model")
        first = _rows_until(bars["known_at"], since)
        close, start = _closes(bars), max(first, self.context - 1)
        file = None if cache is None else cache / f"{self.identity}.parquet"
        known = {} if file is None else _read(file, len(self.columns))
        table = np.full((bars.height - first, len(self.columns)), np.nan)
        for low in range(start, bars.height, CHUNK):
            high, cached = min(low + CHUNK, bars.height), len(known)
            table[low - first : high - first] = self._rows(
                relative_windows(close[low - self.context + 1 : high], self.context), known
            )
            if file is not None and len(known) > cached:
                _write(file, known)
            if progress is not None:
                progress(high - start, bars.height - start)
        values = [pl.Series(name, column, nan_to_null=True) for name, column in zip(self.columns, table.T, strict=True)]
        return bars[first:].select("timestamp", pl.col("known_at").alias("decision_at")).hstack(values)

    def _rows(self, windows: Float32s, known: dict[bytes, Float32s]) -> Float32s:
        """The row of every window; those that `known` lacks are computed and entered there."""
        keys = [hashlib.blake2b(window.tobytes(), digest_size=KEY_BYTES).digest() for window in windows]
        missing = {key: i for i, key in enumerate(keys) if key not in known}
        todo = list(missing)
        for start in range(0, len(todo), self.batch):
            part = todo[start : start + self.batch]
            rows = [missing[key] for key in part]
            filled = np.resize(rows, self.batch)  # the last batch repeats its windows up to the common shape
            known.update(zip(part, self._run(windows[filled])[: len(rows)], strict=True))
        return np.stack([known[key] for key in keys])

    def _run(self, windows: Float32s) -> Float32s:
        """(batch, 3 + width) rows of (batch, context) windows; the encoder runs once for both the quantiles and the states."""
        import torch

        states: list[torch.Tensor] = []
        pipeline = self._pipeline
        hook = pipeline.model.encoder.register_forward_hook(lambda _module, _args, out: states.append(out[0]))
        try:
            with torch.inference_mode():
                quantiles, _ = pipeline.predict_quantiles(
                    torch.from_numpy(windows), prediction_length=self.horizon, quantile_levels=list(QUANTILES.values())
                )
        finally:
            hook.remove()
        patches = states[0][:, :-1] if self._settings["chronos_config"].get("use_reg_token") else states[0]
        embedding = patches.mean(dim=1).float().cpu()  # (batch, patches, width) -> (batch, width)
        forecast = quantiles[:, -1].float().cpu().sort(dim=-1).values  # (batch, 3); the model's own may cross
        return torch.cat([forecast, embedding], dim=1).numpy()

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """The model's own configuration, checked against what is asked of it."""
        try:
            settings: dict[str, Any] = read_json(self.folder / "config.json", "save the model again")
            limits = settings["chronos_config"]["context_length"], settings["chronos_config"]["prediction_length"]
        except (DamagedError, KeyError, TypeError) as error:
            raise _unusable(self.path, f"no readable Chronos config.json ({getattr(error, 'found', error)})") from error
        if settings.get("architectures") != ["ChronosBoltModelForForecasting"]:
            raise _unusable(self.path, f"architecture {settings.get('architectures')}")
        if not list(self.folder.glob("*.safetensors")):
            raise _unusable(self.path, "no *.safetensors beside its config.json")
        for name, asked, limit in zip(("context", "horizon"), (self.context, self.horizon), limits, strict=True):
            if asked > limit:
                raise ModelError(f"foundation.{name}", found=asked, wanted=f"at most {limit}, what {self.path} was trained on",
                                 mend="lower it in the experiment")  # fmt: skip
        return settings

    @cached_property
    def _pipeline(self) -> Any:
        """The loaded model, on the GPU when there is one."""
        import torch

        try:
            from chronos import BaseChronosPipeline
        except ImportError as error:
            raise ModelError(
                "foundation model", found=f"no chronos package ({error})", wanted="chronos-forecasting",
                mend="pip install chronos-forecasting, or leave the foundation model out of the experiment",
            ) from error  # fmt: skip
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            loaded = BaseChronosPipeline.from_pretrained(
                self.folder, device_map=device, dtype=torch.float32, use_safetensors=True
            )
        except Exception as error:  # transformers and safetensors raise kinds of their own for broken weights
            raise _unusable(self.path, f"{type(error).__name__}: {error}") from error
        loaded.model.eval()
        return loaded


def relative_windows(close: npt.NDArray[np.float64], context: int) -> Float32s:
    """The `context` closes up to each bar over its own close, less one, oldest first; bars with fewer closes have none.

    Differences are taken before the cast, so that they keep their digits whatever the price level.

    Example:
        >>> relative_windows(np.array([1.0, 2.0, 4.0]), 2)
        array([[-0.5,  0. ],
               [-0.5,  0. ]], dtype=float32)
    """
    windows = np.lib.stride_tricks.sliding_window_view(close, context)
    return (windows / windows[:, -1:] - 1.0).astype(np.float32)


def _rows_until(known_at: pl.Series, since: datetime | None) -> int:
    return 0 if since is None else int(np.searchsorted(microseconds(known_at), to_microseconds(since, "since"), side="right"))


def _closes(bars: pl.DataFrame) -> npt.NDArray[np.float64]:
    close = bars["close"].cast(pl.Float64).to_numpy()
    wrong = ~((close > 0) & (close < np.inf))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"bars of the foundation model: close at {bars['timestamp'][row]}", found=close[row],
                        wanted="cleaned bars: positive finite closes", mend="pass the bars through clean_bars")  # fmt: skip
    return close


def _download(path: str) -> Path:
    """Folder of a hub's model: config and safetensors only, fetched once; offline, what was fetched before."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, allow_patterns=["config.json", "*.safetensors"]))
    except (OSError, ValueError) as error:  # the hub's errors derive from these two
        reason = str(error).partition("\n")[0]
        raise _unusable(path, f"no such folder, and the hub did not give it ({type(error).__name__}: {reason})") from error


def _unusable(path: str, found: str) -> ModelError:
    name = path.rstrip("/").rpartition("/")[2] or "chronos-bolt-tiny"
    return ModelError(
        f"foundation model {path!r}",
        found=found,
        wanted="a Chronos-Bolt model: a folder with config.json and *.safetensors, or the id of a hub that can be reached",
        mend=f"where there is a network, run `hf download amazon/chronos-bolt-tiny --local-dir {name}`, bring that folder here "
        "and name it in the experiment; or leave the foundation model out",
    )


def _read(file: Path, width: int) -> dict[bytes, Float32s]:
    """Cached rows by key; none where there is no file yet."""
    if not file.exists():
        return {}
    mend = "delete that file; its rows are computed again"
    table = read_parquet(file, mend)
    if table.schema != pl.Schema({"key": pl.Binary(), "row": pl.Array(pl.Float32(), width)}):
        raise damaged(file, f"columns {dict(table.schema)} for rows of {width} values", mend)
    return dict(zip(table["key"].to_list(), table["row"].to_numpy(), strict=True))


def _write(file: Path, rows: dict[bytes, Float32s]) -> None:
    values = np.stack(list(rows.values()))
    keys = pl.Series("key", list(rows), dtype=pl.Binary)
    write_parquet(file, pl.DataFrame([keys, pl.Series("row", values, dtype=pl.Array(pl.Float32, values.shape[1]))]))
