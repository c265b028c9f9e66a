"""The embedding store: computes once, resumes, survives kills and damage, and never mixes encoders."""

from __future__ import annotations

from dataclasses import dataclass, field

import h5py
import numpy as np
import pytest

from quant_pipeline.errors import DataError, MissingUpstreamError, StorageError
from quant_pipeline.features.text import embeddings as module
from quant_pipeline.features.text.embeddings import EmbeddingStore
from quant_pipeline.features.text.encoder import Encoded
from quant_pipeline.files import BLANK_SEAL, seal


@dataclass
class Fake:
    """Embeds a text as its length and its first letters; counts what it is asked, and may die."""

    id: str = "fake@1"
    dimension: int = 3
    asked: list[str] = field(default_factory=list)
    dies_after: int = 10**9

    def analyse(self, texts, progress=None):  # noqa: ARG002 - the encoder's signature
        self.asked += texts
        if len(self.asked) > self.dies_after:
            raise KeyboardInterrupt
        rows = np.array([[len(text), ord(text[0]), ord(text[-1])] for text in texts], np.float32).reshape(-1, 3)
        return Encoded(rows, rows[:, 0] / 1_000.0)


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings" / "fake.h5")


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "FLUSH", 4)


TEXTS = [f"{'x' * number}é{number}" for number in range(10)]


def test_what_is_stored_comes_back_in_any_order(store):
    ledger = store.ensure(TEXTS, Fake())
    assert (ledger.rows_in, ledger.rows_out, ledger.dropped) == (10, 10, {})
    wanted = Fake().analyse(TEXTS[::-1] + TEXTS[:2])
    embedding, sentiment = store.lookup(TEXTS[::-1] + TEXTS[:2])
    np.testing.assert_array_equal(embedding, wanted.embedding)
    np.testing.assert_array_equal(sentiment, wanted.sentiment)
    assert (embedding.dtype, store.model()) == (np.float32, "fake@1")


def test_only_what_is_missing_is_computed(store):
    store.ensure(TEXTS[:6], Fake())
    fake = Fake()
    ledger = store.ensure([*TEXTS, TEXTS[7]], fake)
    assert fake.asked == TEXTS[6:]
    assert ledger.dropped == {"repeated": 1, "stored": 6}
    again = Fake()
    before = store.path.stat().st_mtime_ns
    assert store.ensure(TEXTS, again).rows_out == 0
    assert (again.asked, store.path.stat().st_mtime_ns) == ([], before)


def test_nothing_to_embed_is_a_file_without_rows(store, plain):
    assert store.ensure([], plain).rows_out == 0
    embedding, sentiment = store.lookup([])
    assert (embedding.shape, sentiment.shape, store.model()) == ((0, 32), (0,), plain.id)


@pytest.mark.usefixtures("small_batches")
def test_a_kill_loses_one_batch_and_the_rest_is_resumed(store):
    with pytest.raises(KeyboardInterrupt):
        store.ensure(TEXTS, Fake(dies_after=8))
    assert len(store.lookup(TEXTS[:8])[1]) == 8
    fake = Fake()
    seen = []
    store.ensure(TEXTS, fake, progress=lambda done, total: seen.append((done, total)))
    assert (fake.asked, seen) == (TEXTS[8:], [(2, 2)])


@pytest.mark.usefixtures("small_batches")
def test_a_run_in_pieces_writes_the_bytes_of_a_whole_one(store, tmp_path):
    store.ensure(TEXTS, Fake())
    pieces = EmbeddingStore(tmp_path / "pieces.h5")
    pieces.ensure(TEXTS[:4], Fake())
    pieces.ensure(TEXTS, Fake())
    assert pieces.path.read_bytes() == store.path.read_bytes()


@pytest.mark.usefixtures("small_batches")
def test_a_failed_write_leaves_the_file_as_it_was(store, monkeypatch):
    store.ensure(TEXTS[:4], Fake())
    before = store.path.read_bytes()

    def half_written(self, name, **settings: object):  # noqa: ARG001 - h5py's signature
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.File, "create_dataset", half_written)
    with pytest.raises(StorageError, match="room"):
        store.ensure(TEXTS, Fake())
    assert store.path.read_bytes() == before
    assert [path.name for path in store.path.parent.iterdir() if path.name.startswith(".partial")] == []


def test_two_writers_keep_each_others_rows(store):
    other = Fake()

    class Late(Fake):
        def analyse(self, texts, progress=None):
            store.ensure(["from the other", *TEXTS[:2]], other)  # finishes while this one computes
            return super().analyse(texts, progress)

    store.ensure(TEXTS, Late())
    with h5py.File(store.path) as file:
        assert len(file["text_hash"]) == len(set(file["text_hash"][:])) == 11


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_named_and_never_overwritten(store, share):
    store.ensure(TEXTS, Fake())
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[: int(len(whole) * share)])
    cut = store.path.read_bytes()
    for use in (lambda: store.lookup(TEXTS), lambda: store.ensure(TEXTS, Fake()), store.model):
        with pytest.raises(DataError, match=r"fake\.h5.*damaged.*delete it"):
            use()
    assert store.path.read_bytes() == cut


def test_a_flipped_bit_anywhere_is_found(store, tmp_path):
    """One in a hundred bytes: tables, gaps between them, names and structure."""
    store.ensure(TEXTS, Fake())
    whole = store.path.read_bytes()
    for place in [*range(0, len(whole), 101), whole.index(b"fake@1"), whole.index(b"quant-sha256:")]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path = tmp_path / f"{place}.h5"
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"h5: found a damaged file.*delete it"):
            EmbeddingStore(path).lookup(TEXTS)


def test_a_whole_hdf5_file_that_is_no_store_of_ours_is_damaged(store):
    """Structure of every wrong kind, under a right seal."""
    store.path.parent.mkdir(parents=True)
    for fill in (
        lambda _: None,
        lambda file: file.create_group("text_hash"),
        lambda file: file.create_dataset("text_hash", data=1),
    ):
        with h5py.File(store.path, "w") as file:
            file.attrs["seal"] = np.bytes_(BLANK_SEAL)
            file.attrs["model"] = "fake@1"
            fill(file)
        seal(store.path)
        with pytest.raises(DataError, match="damaged"):
            store.lookup(TEXTS)


def test_a_file_without_its_datasets_is_damaged(store):
    store.ensure(TEXTS, Fake())
    with h5py.File(store.path, "a") as file:
        del file["sentiment"]
    with pytest.raises(DataError, match="damaged"):
        store.lookup(TEXTS)


def test_embeddings_of_another_encoder_are_refused(store):
    store.ensure(TEXTS, Fake())
    with pytest.raises(DataError, match=r"fake\.h5: found embeddings of fake@1, wanted those of fake@2"):
        store.ensure(TEXTS, Fake(id="fake@2"))
    assert store.model() == "fake@1"


def test_texts_that_were_never_computed_are_named(store):
    with pytest.raises(MissingUpstreamError, match="no file"):
        store.lookup(TEXTS)
    store.ensure(TEXTS[:3], Fake())
    with pytest.raises(MissingUpstreamError, match="7 of 10 texts missing"):
        store.lookup(TEXTS)


def test_the_store_with_a_real_encoder(store, classifier, titles):
    store.ensure(titles, classifier)
    embedding, sentiment = store.lookup(titles)
    np.testing.assert_allclose(embedding, classifier.encode(titles), atol=1e-5)
    np.testing.assert_allclose(sentiment, classifier.sentiment(titles), atol=1e-5)
    with h5py.File(store.path) as file:
        assert (file.attrs["model"], file.attrs["dimension"]) == (classifier.id, 32)
        assert "torch" in file.attrs["libraries"]
