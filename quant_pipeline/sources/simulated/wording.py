"""The words of the simulated headlines: the wording, and nothing else, carries the tone."""

from __future__ import annotations

SOURCES = ("Simulated Wire", "Simulated Times", "Simulated Market Desk")

# tone of a headline by bucket, and how often each bucket comes up; the mean tone is zero
TONES = (-1.0, -0.5, 0.0, 0.5, 1.0)
SHARES = (0.12, 0.20, 0.36, 0.20, 0.12)

TEMPLATES: tuple[tuple[str, ...], ...] = (
    (
        "{name} ({symbol}) outlook slashed as {cause} collapses",
        "Panic selling feared in {name} ({symbol}): analysts warn of a crash",
        "{name} ({symbol}) faces a severe slump, strategists say, citing a plunge in {cause}",
        "Brokers abandon {name} ({symbol}) as {cause} deteriorates sharply",
    ),
    (
        "{name} ({symbol}) may soften as {cause} weakens",
        "Cautious tone on {name} ({symbol}): {cause} misses expectations",
        "Analysts trim forecasts for {name} ({symbol}) on slower {cause}",
        "{name} ({symbol}) seen under mild pressure, traders say",
    ),
    (
        "{name} ({symbol}): five things to know about {cause} this week",
        "{name} ({symbol}) little discussed as markets await data on {cause}",
        "Calendar: events to watch for {name} ({symbol})",
        "{name} ({symbol}) desk notes unchanged; {cause} in line with expectations",
    ),
    (
        "{name} ({symbol}) may firm as {cause} improves",
        "Constructive tone on {name} ({symbol}): {cause} beats expectations",
        "Analysts nudge up forecasts for {name} ({symbol}) on better {cause}",
        "{name} ({symbol}) seen well supported, traders say",
    ),
    (
        "{name} ({symbol}) outlook raised sharply as {cause} booms",
        "Strategists expect a powerful rally in {name} ({symbol})",
        "{name} ({symbol}) poised to surge, strategists say, citing record {cause}",
        "Brokers rush to upgrade {name} ({symbol}) as {cause} strengthens strongly",
    ),
)
CAUSES = ("demand", "order flow", "investor appetite", "institutional buying", "liquidity", "physical activity")
