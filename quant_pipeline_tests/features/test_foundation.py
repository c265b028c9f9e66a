"""The foundation encoder on a tiny random Chronos-Bolt: rows are the model's own, causal, cached and refused clearly."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_pipeline.errors import ConfigError, DataError, ModelError
from quant_pipeline.features import foundation
from quant_pipeline.features.foundation import FoundationEncoder

CONTEXT, HORIZON, BATCH = 40, 3, 16
START = datetime(2025, 3, 3, tzinfo=UTC)
WIDTH = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a Chronos-Bolt of one layer with random weights: context 64, 8 steps ahead, 16 wide."""
    import torch
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=2, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=1, num_heads=2, dropout_rate=0.0,
        initializer_factor=0.3, is_encoder_decoder=True, use_cache=False, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, architectures=["ChronosBoltModelForForecasting"],
    )  # fmt: skip
    config.chronos_config = {
        "context_length": 64, "prediction_length": 8, "input_patch_size": 8, "input_patch_stride": 8,
        "quantiles": [q / 10 for q in range(1, 10)], "use_reg_token": True,
    }  # fmt: skip
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    folder = tmp_path_factory.mktemp("model") / "tiny"
    ChronosBoltModelForForecasting(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(model):
    return FoundationEncoder(model, CONTEXT, HORIZON, BATCH)


def _bars(close):
    close = np.asarray(close, float)
    opened = pl.Series("timestamp", [START + timedelta(hours=i) for i in range(close.size)], pl.Datetime("us", "UTC"))
    return pl.DataFrame([opened, (opened + timedelta(hours=1)).alias("known_at"), pl.Series("close", close)])


@pytest.fixture(scope="module")
def bars():
    return _bars(1e4 * np.exp(np.cumsum(1e-3 * np.random.default_rng(1).normal(size=120))))


@pytest.fixture(scope="module")
def table(encoder, bars):
    return encoder.encode(bars)


def _values(frame):
    return frame.drop("timestamp", "decision_at").to_numpy()


@pytest.fixture
def no_model(monkeypatch):
    """From here on, running the model is an error."""

    def refuse(*_: object):
        raise AssertionError

    monkeypatch.setattr(FoundationEncoder, "_run", refuse)


def test_a_row_is_what_the_model_says_of_the_last_closes(model, bars, table):
    import torch
    from chronos import BaseChronosPipeline

    pipeline = BaseChronosPipeline.from_pretrained(model, device_map="cpu", dtype=torch.float32)
    close = bars["close"].to_numpy()
    for row in (CONTEXT - 1, 77, 119):
        window = torch.tensor(close[row - CONTEXT + 1 : row + 1] / close[row] - 1).float()[None]
        states, _ = pipeline.embed(window)
        quantiles, _ = pipeline.predict_quantiles(window, prediction_length=HORIZON, quantile_levels=[0.1, 0.5, 0.9])
        embedding = states[0, : CONTEXT // 8].mean(dim=0).numpy()  # the state after the patches is the [REG] token's
        expected = np.r_[np.sort(quantiles[0, HORIZON - 1].numpy()), embedding]
        np.testing.assert_allclose(_values(table)[row], expected, atol=1e-5)


def test_columns_keys_and_warm_up(bars, table):
    assert table.columns[:5] == ["timestamp", "decision_at", "foundation_q10", "foundation_q50", "foundation_q90"]
    assert table.columns[5:] == [f"foundation_e{i:03d}" for i in range(WIDTH)]
    assert table["decision_at"].equals(bars["known_at"])
    for name in table.columns[2:]:
        assert table[name].is_null().to_list() == [True] * (CONTEXT - 1) + [False] * (120 - CONTEXT + 1)
    spread = table.drop_nulls()
    assert (spread["foundation_q10"] <= spread["foundation_q50"]).all()
    assert (spread["foundation_q50"] <= spread["foundation_q90"]).all()
    assert spread["foundation_e003"].std() > 1e-4


def test_neither_later_nor_older_bars_change_a_row(encoder, bars, table):
    for cut in (CONTEXT, 63, 100):
        np.testing.assert_allclose(_values(encoder.encode(bars[:cut])), _values(table)[:cut], atol=1e-5)
    shaken = bars.with_columns(close=pl.when(pl.int_range(pl.len()) < 120 - CONTEXT).then(7.0).otherwise("close"))
    values = _values(encoder.encode(shaken))
    np.testing.assert_allclose(values[-1], _values(table)[-1], atol=1e-5)
    assert np.abs(values[-2] - _values(table)[-2]).max() > 1e-3


def test_a_row_alone_has_the_bits_it_has_among_many(encoder, bars, table):
    for row in (CONTEXT - 1, 70, 119):
        alone = encoder.encode(bars[: row + 1], since=table["decision_at"][row - 1])
        assert_frame_equal(alone, table[row : row + 1], check_exact=True)


def test_another_batch_size_moves_a_row_by_rounding_only(model, bars, table):
    alone = FoundationEncoder(model, CONTEXT, HORIZON, batch=1).encode(bars)
    np.testing.assert_allclose(_values(alone), _values(table), atol=1e-5)


def test_the_price_level_does_not_matter(encoder, bars, table):
    assert_frame_equal(encoder.encode(bars.with_columns(pl.col("close") * 1024)), table, check_exact=True)


def test_since_gives_the_later_rows_and_nothing_else(encoder, bars, table):
    later = encoder.encode(bars, since=table["decision_at"][70])
    assert_frame_equal(later, table[71:], check_exact=True)
    early = encoder.encode(bars, since=table["decision_at"][9])
    assert_frame_equal(early, table[10:], check_exact=True)
    assert encoder.encode(bars, since=table["decision_at"][-1]).shape == (0, table.width)


@pytest.mark.usefixtures("no_model")
def test_a_history_shorter_than_the_context_has_no_values(encoder, bars):
    short = encoder.encode(bars[: CONTEXT - 1])
    assert short.height == CONTEXT - 1
    assert short["foundation_q50"].null_count() == CONTEXT - 1
    assert encoder.encode(bars[:0]).height == 0


def test_a_still_market_is_defined_and_computed_once(encoder, monkeypatch):
    run, seen = FoundationEncoder._run, []
    monkeypatch.setattr(FoundationEncoder, "_run", lambda self, windows: seen.append(len(windows)) or run(self, windows))
    values = _values(encoder.encode(_bars(np.full(60, 12.5))))[CONTEXT - 1 :]
    assert len(seen) == 1
    assert np.isfinite(values).all()
    assert (values == values[0]).all()


def test_a_cached_row_does_not_run_the_model(encoder, bars, tmp_path, request):
    told = []
    first = encoder.encode(bars[:100], cache=tmp_path, progress=lambda *done: told.append(done))
    assert told == [(61, 61)]
    request.getfixturevalue("no_model")
    assert_frame_equal(encoder.encode(bars[:100], cache=tmp_path), first, check_exact=True)
    with pytest.raises(AssertionError):
        encoder.encode(bars, cache=tmp_path)


def test_the_cache_is_of_one_model_context_and_horizon(encoder, model, bars, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(model, changed)
    weights = bytearray((changed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "model.safetensors").write_bytes(weights)
    others = [
        FoundationEncoder(model, CONTEXT, HORIZON + 1), FoundationEncoder(model, CONTEXT + 1, HORIZON),
        FoundationEncoder(changed, CONTEXT, HORIZON),
    ]  # fmt: skip
    assert len({encoder.identity, *(other.identity for other in others)}) == 4
    assert FoundationEncoder(str(model), CONTEXT, HORIZON, batch=2).identity == encoder.identity
    encoder.encode(bars[:50], cache=tmp_path)
    others[0].encode(bars[:50], cache=tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_an_interrupted_run_keeps_what_it_computed(encoder, bars, tmp_path, monkeypatch):
    monkeypatch.setattr(foundation, "CHUNK", 30)

    def stop(*_: object):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode(bars, cache=tmp_path, progress=stop)
    run, seen = FoundationEncoder._run, []
    monkeypatch.setattr(FoundationEncoder, "_run", lambda self, windows: seen.append(len(windows)) or run(self, windows))
    encoder.encode(bars, cache=tmp_path)
    batches = [-(-chunk // encoder.batch) for chunk in (30, 81 - 30 - 30)]  # of the second and the third chunk
    assert seen == [encoder.batch] * sum(batches)


def test_a_broken_cache_says_which_file_to_delete(encoder, bars, tmp_path):
    file = tmp_path / f"{encoder.identity}.parquet"
    for broken in (b"not a parquet file", None):
        if broken is None:
            pl.DataFrame({"key": [b"k"], "row": [1.0]}).write_parquet(file)
        else:
            file.write_bytes(broken)
        with pytest.raises(DataError, match=f"{encoder.identity}.*delete that file"):
            encoder.encode(bars, cache=tmp_path)


def test_a_model_that_is_not_there_says_how_to_get_it(bars, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for path in ("amazon/chronos-bolt-tiny", "/no/such/folder"):
        with pytest.raises(ModelError, match=rf"'{path}'.*hf download amazon/chronos-bolt-tiny"):
            FoundationEncoder(path).encode(bars)


def _without_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _broken_weights(folder):
    (folder / "model.safetensors").write_bytes(b"0" * 100)


def _other_architecture(folder):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"architectures": ["Chronos2Model"]}))


def _no_config(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_weights, "no \\*.safetensors"),
        (_broken_weights, "Safetensor"),
        (_other_architecture, "Chronos2Model"),
        (_no_config, "no readable Chronos config.json"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(model, bars, tmp_path, spoil, said):
    folder = tmp_path / "spoiled"
    shutil.copytree(model, folder)
    spoil(folder)
    with pytest.raises(ModelError, match=rf"spoiled.*{said}.*hf download"):
        FoundationEncoder(folder, CONTEXT, HORIZON).encode(bars)


def test_more_than_the_model_was_trained_for_is_refused(model, bars):
    with pytest.raises(ModelError, match=r"foundation.context: found 65, wanted at most 64"):
        FoundationEncoder(model, 65, HORIZON).encode(bars)
    with pytest.raises(ModelError, match=r"foundation.horizon: found 9, wanted at most 8"):
        FoundationEncoder(model, CONTEXT, 9).encode(bars)
    with pytest.raises(ConfigError, match=r"foundation.batch: found 0"):
        FoundationEncoder(model, CONTEXT, HORIZON, batch=0)


def test_bars_that_are_not_clean_are_refused(encoder, bars):
    holed = bars.with_columns(close=pl.when(pl.col("timestamp") == START + timedelta(hours=5)).then(None).otherwise("close"))
    with pytest.raises(DataError, match="close at 2025-03-03 05:00"):
        encoder.encode(holed)
    with pytest.raises(DataError, match="known_at"):
        encoder.encode(bars.drop("known_at"))
