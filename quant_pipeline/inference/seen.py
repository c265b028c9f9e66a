"""Up to which arrivals a decision read its stores: what a replay of it must read again."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any

import pydantic

Moment = Annotated[
    pydantic.AwareDatetime,
    pydantic.AfterValidator(lambda at: at.astimezone(UTC)),
    pydantic.PlainSerializer(lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), when_used="json"),
]


class SeenBy(pydantic.BaseModel):
    """The moments by which the stores had seen what a signal read; null for a store that there was none of.

    They are not about the market but about arrival: what was stored later was not seen, whenever it was published.
    `asked` is when the bars were last asked for, where that was before the decision, and `down` names the inputs whose
    source did not answer; neither is written where there is nothing to say.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    bars: Moment
    news: Moment | None = None
    releases: Moment | None = None
    asked: Moment | None = None
    down: tuple[str, ...] = ()

    @pydantic.model_serializer(mode="wrap")
    def _told(self, dump: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value or name not in ("asked", "down")}
