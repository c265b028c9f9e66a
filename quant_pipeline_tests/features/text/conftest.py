"""Tiny BERT checkpoints with random weights, made once: every path of the encoders without a download."""

from __future__ import annotations

import json

import pytest

TITLES = [
    "gold rises as dollar weakens",
    "crude oil falls on opec supply",
    "fed holds rates steady",
    "bitcoin rallies past record high after a very long week of quiet trading",
    "oil",
    "shares fall sharply after weak earnings",
    "shares rise sharply after strong earnings",
]


def _tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    pieces = [*special.values(), *sorted({word for title in TITLES for word in title.split()})]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    words = Tokenizer(models.WordPiece(vocab=numbers, unk_token=special["unk_token"]))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, words.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=512, **special)


def make_checkpoint(folder, *, labels=None, seed=0, mean_pooling=False):
    """A BERT of 2 layers and 32 dimensions; with `labels` it has a classifier over them."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    extra = {} if labels is None else {"id2label": dict(enumerate(labels)), "label2id": {b: a for a, b in enumerate(labels)}}
    # random weights of the usual size leave all texts close together; larger ones spread them
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.5, **shape, **extra)
    model = BertModel(config) if labels is None else BertForSequenceClassification(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if mean_pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
        (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    return folder


@pytest.fixture(scope="session")
def checkpoint():
    return make_checkpoint


@pytest.fixture(scope="session")
def titles():
    return TITLES


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("classifier"), labels=("positive", "negative", "neutral"))


@pytest.fixture(scope="session")
def plain(plain_folder):
    from quant_pipeline.features.text.encoder import make_encoder

    return make_encoder(str(plain_folder), device="cpu")


@pytest.fixture(scope="session")
def classifier(classifier_folder):
    from quant_pipeline.features.text.encoder import make_encoder

    return make_encoder(str(classifier_folder), device="cpu")
