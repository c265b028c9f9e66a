from __future__ import annotations

import pytest

from quant_pipeline.config.universe import load_universe
from quant_pipeline.sources.simulated.source import SimulatedSource


@pytest.fixture(scope="session")
def universe():
    return load_universe()


@pytest.fixture(scope="session")
def source(universe):
    return SimulatedSource(universe, seed=7)


@pytest.fixture(scope="session")
def null(universe):
    return SimulatedSource(universe, seed=7, null=True)
