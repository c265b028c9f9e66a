"""Whether a provider's computer answers at all, found out in seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from quant_pipeline.errors import SourceError

SECONDS = 6.0
"""How long an answer may take; a resolver of names that nobody answers takes longer, and is not waited for."""
PROVIDERS = {"yahoo": "https://query1.finance.yahoo.com"}
"""Where the profiles that need a network ask."""


def _head(address: str) -> Any:
    import httpx

    return httpx.head(address, timeout=SECONDS)


def reach(profile: str, ask: Callable[[str], Any] = _head) -> str:
    """Words on the provider of a profile that has one in `PROVIDERS`; any answer counts, a refusal too.

    Raises:
        SourceError: none came in time.
    """
    told: list[str] = []

    def try_it() -> None:
        try:
            ask(PROVIDERS[profile])
            told.append("")
        except Exception as error:  # noqa: BLE001 - whatever a library raises, it is told as the reason
            told.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(SECONDS)
    reason = told[0] if told else "silence"
    if reason:
        raise SourceError(
            PROVIDERS[profile], found=reason, wanted=f"an answer within {SECONDS:g} seconds",
            mend="look at the network and its proxy; `quant run` with --profile files or simulated needs none",
        )  # fmt: skip
    return f"{PROVIDERS[profile]} answers"
