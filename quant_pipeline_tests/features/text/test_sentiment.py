"""The sentiment axis on made embeddings whose directions are known."""

from __future__ import annotations

import numpy as np
import pytest

from quant_pipeline.errors import ModelError
from quant_pipeline.features.text.sentiment import NEUTRAL, PAIRS, make_axis

rng = np.random.default_rng(5)
TRUE = rng.normal(size=16)
TRUE /= np.linalg.norm(TRUE)
SUBJECTS = rng.normal(size=(10, 16))
SHIFT = 3 * TRUE  # neutral texts do not lie at zero


def texts(tone):
    return (SUBJECTS + SHIFT + np.asarray(tone)[:, None] * TRUE).astype(np.float32)


def test_subjects_cancel_in_pairs():
    axis = make_axis(texts(np.full(10, 0.5)), texts(np.full(10, -0.5)), texts(np.zeros(10)))
    np.testing.assert_allclose(axis.direction, TRUE, atol=1e-6)
    assert axis.reach == pytest.approx(0.5, abs=1e-6)


def test_neutral_examples_are_zero_and_the_score_rises_with_the_tone():
    axis = make_axis(texts(np.full(10, 0.5)), texts(np.full(10, -0.5)), texts(np.zeros(10)))
    still = (SHIFT + np.linspace(-2, 2, 9)[:, None] * TRUE + SUBJECTS.mean(axis=0)).astype(np.float32)
    score = axis.score(still)
    assert score[4] == pytest.approx(0, abs=1e-5)
    assert (np.diff(score) > 0).all()
    np.testing.assert_allclose(score, -score[::-1], atol=1e-5)
    assert np.abs(score).max() <= 1
    np.testing.assert_allclose(score[[3, 5]], np.tanh([-1, 1]), atol=1e-5)


def test_an_encoder_that_tells_nothing_is_refused():
    with pytest.raises(ModelError, match="choose another `encoder`"):
        make_axis(texts(np.zeros(10)), texts(np.zeros(10)), texts(np.zeros(10)))


def test_the_examples_are_pairs_of_distinct_sentences():
    every = [sentence for pair in PAIRS for sentence in pair] + list(NEUTRAL)
    assert len(set(every)) == len(every)
