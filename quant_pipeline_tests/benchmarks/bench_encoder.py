"""Titles per second of the text encoders: MiniLM (384) and a net of FinBERT's size (768), on CPU and on a GPU where there is one.

    python quant_pipeline_tests/benchmarks/bench_encoder.py

FinBERT's weights need not be here: a BERT-base with its classifier and random weights costs exactly as much. Both encoders
read the same titles through `Encoder.analyse`, which gives embeddings and sentiment. The plain peer encodes the same titles
in batches of 64 as they come, padded to the longest, as tutorials do; the ratio is what sorting by length saves.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

from quant_pipeline.config.universe import load_universe
from quant_pipeline.features.text.encoder import BATCH, Encoder, make_encoder
from quant_pipeline.sources.simulated.source import SimulatedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

THREADS = 2
TITLES = {"cpu": 128, "cuda": 8_192}
REPEATS = 2


def titles(count: int) -> list[str]:
    """Headlines of the simulated market, about a dozen words each."""
    source, start, end = SimulatedSource(load_universe()), datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    made = [title for symbol in ("GC=F", "SPY", "BTC-USD") for title in source.headlines(symbol, start, end)["title"]]
    return [made[row] for row in np.random.default_rng(7).integers(0, len(made), count)]


def finbert_sized(device: str) -> Encoder:
    """BERT-base with three labels and random weights; its tokenizer is MiniLM's, whose words are BERT's."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(7)
    model = BertForSequenceClassification(BertConfig(num_labels=3)).to(device).eval()
    tokenizer = make_encoder("minilm", device="cpu").tokenizer
    return Encoder("finbert-sized", 768, False, False, (1, -1, 0), device, model, tokenizer)


def padded(encoder: Encoder, texts: Sequence[str]) -> None:
    """Batches as they come, padded."""
    with torch.inference_mode():
        for first in range(0, len(texts), BATCH):
            tokens = encoder.tokenizer(texts[first : first + BATCH], padding=True, return_tensors="pt").to(encoder.device)
            encoder.model(**tokens, output_hidden_states=True).hidden_states[-1][:, 0].cpu()


def best_seconds(side: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Fastest of `REPEATS` runs after a short warm-up."""
    side(texts[: BATCH // 4])
    return min(_timed(side, texts) for _ in range(REPEATS))


def _timed(side: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    begin = time.perf_counter()
    side(texts)
    return time.perf_counter() - begin


def main() -> None:
    """Print one row per encoder and device."""
    torch.set_num_threads(THREADS)
    print(f"{'encoder':<16}{'device':<26}{'d':>5}{'titles':>8}{'titles/s':>10}{'padded/s':>10}{'ratio':>7}")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        texts = titles(TITLES[device])
        told = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {THREADS} threads"
        for name, encoder in (("minilm", make_encoder("minilm", device=device)), ("finbert-sized", finbert_sized(device))):
            ours = best_seconds(encoder.analyse, texts)
            plain = best_seconds(lambda some, of=encoder: padded(of, some), texts)
            rates = f"{len(texts) / ours:>10.0f}{len(texts) / plain:>10.0f}{plain / ours:>7.2f}"
            print(f"{name:<16}{told:<26}{encoder.dimension:>5}{len(texts):>8}{rates}", flush=True)


if __name__ == "__main__":
    main()
