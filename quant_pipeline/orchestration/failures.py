"""What a failed step or run itself said, and that its page says this first, before Dagster's words around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.events import DagsterEvent
    from dagster_shared.error import SerializableErrorInfo

OUR_ERRORS = "quant_pipeline.errors."


def reason(error: SerializableErrorInfo) -> str:
    """The sentence of the first of our errors in a chain of causes; where there is none, what a step raised."""
    own = next((one for one in _chain(error) if one.message.startswith(OUR_ERRORS)), error.cause or error)
    said: str = own.message.strip()
    return said.partition(": ")[2] if said.startswith(OUR_ERRORS) else said


def reason_first(event: DagsterEvent) -> DagsterEvent:
    """The event of a failure with its reason in front; any other as it is."""
    if event.is_step_failure and (error := event.step_failure_data.error):
        told = f"{reason(error)}\n{error.message}" if error.cause else reason(error)
        return event._replace(event_specific_data=event.step_failure_data._replace(error=error._replace(message=told)))
    if event.event_type is dg.DagsterEventType.RUN_FAILURE and event.event_specific_data:
        error = event.job_failure_data.error
        return event._replace(message=reason(error)) if error else event
    return event


def _chain(error: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    while error:
        yield error
        error = error.cause
