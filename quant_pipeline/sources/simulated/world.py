"""What the simulated market is made of: the parameters of the whole world and of each asset in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

FACTORS = ("risk", "dollar", "rates")


@dataclass(frozen=True)
class World:
    """Parameters that every symbol shares.

    The three effects are information coefficients: the correlation that the best forecast from that input alone
    reaches with the return of the next five trading hours (300 trading minutes) in the plain linear model, before
    gaps, jumps and changing volatility take a little away. `bars_effect` is far above real markets (0.02 to 0.05
    would be a find): with some thousand test rows, skill of a realistic size drowns in sampling noise, so a year
    of data could not tell a working pipeline from a broken one.

    Attributes:
        seed: Seed of everything random.
        bars_effect: Planted in the symbol's own past bars.
        news_effect: Planted in the tone of its headlines.
        macro_effect: Planted in the surprise of macro releases.
        lead_lag: Whether followers take part of the common shocks one to five minutes late.
        epoch: First day of the market (UTC); nothing exists before it.
    """

    seed: int = 7
    bars_effect: float = 0.30
    news_effect: float = 0.06
    macro_effect: float = 0.04
    lead_lag: bool = True
    epoch: date = date(2024, 1, 1)


@dataclass(frozen=True)
class Asset:
    """Parameters of one symbol.

    Attributes:
        name: What headlines call it.
        price: First price; `tick` is the step that prices are rounded to.
        volatility: Typical yearly volatility (0.2 = 20 % a year), signal included.
        volume: Mean volume of a minute; None when the feed has none. `volume_decimals` is what it is rounded to.
        loadings: Correlation of a minute's shock with each of `FACTORS`; the rest is its own.
        follows: Share of each common shock that arrives one to five minutes late; 0 for a leader.
        inflation: +1 or -1, the direction in which an inflationary macro surprise pushes it.
        growth: The same for a surprise of stronger growth.
    """

    name: str
    price: float = 100.0
    tick: float = 0.01
    volatility: float = 0.30
    volume: float | None = 10_000.0
    volume_decimals: int = 0
    loadings: tuple[float, float, float] = (0.40, -0.10, 0.0)
    follows: float = 0.25
    inflation: float = -1.0
    growth: float = 1.0


# prices are those of early 2024; volatilities, volumes and correlations are rounded from 2024-2026 bars
ASSETS = {
    "GC=F": Asset("Gold", 2_070, 0.1, 0.22, 150, 0, (-0.05, -0.45, -0.30), 0.25, -1, -1),
    "BTC-USD": Asset("Bitcoin", 42_500, 0.01, 0.55, 12, 4, (0.40, -0.10, 0.0), 0.30, -1, 1),
    "CL=F": Asset("Crude oil", 72, 0.01, 0.36, 250, 0, (0.25, -0.20, 0.10), 0.20, 1, 1),
    "SPY": Asset("S&P 500", 475, 0.01, 0.18, 180_000, 0, (0.90, -0.05, -0.05), 0.0, -1, 1),
    "QQQ": Asset("Nasdaq-100", 408, 0.01, 0.23, 110_000, 0, (0.88, -0.05, -0.10), 0.15, -1, 1),
    "AAPL": Asset("Apple", 190, 0.01, 0.28, 140_000, 0, (0.65, -0.05, -0.05), 0.30, -1, 1),
    "^IRX": Asset("Treasury bill yield", 5.20, 0.001, 0.10, None, 0, (0.05, 0.10, 0.50), 0.20, 1, 1),
    "^TNX": Asset("10-year yield", 3.95, 0.001, 0.22, None, 0, (0.20, 0.10, 0.85), 0.0, 1, 1),
    "DX-Y.NYB": Asset("US dollar", 101.5, 0.001, 0.07, None, 0, (-0.10, 0.90, 0.20), 0.0, 1, 1),
}


def asset(symbol: str) -> Asset:
    """Parameters of `symbol`; a symbol without its own entry gets those of a middling share."""
    return ASSETS.get(symbol, Asset(name=symbol))
