"""What the source documents name as inputs of the models, against our columns: `documents.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Self

import pydantic

from quant_pipeline.config.model import Settings, read_yaml

DOCUMENTS = Path(__file__).with_name("documents.yaml")


class DocumentInput(Settings):
    """One input that a document names.

    Attributes:
        name: as it stands there.
        count: how many columns it is there, None where the document does not say.
        ours: patterns of our features (all their rungs), or of single columns, as `fnmatch`; `{a,b}` stands for either.
        note: why ours are fewer, more, other, or none.
    """

    name: str
    count: int | None = pydantic.Field(default=None, ge=1)
    ours: tuple[str, ...] = ()
    note: str = ""

    @pydantic.model_validator(mode="after")
    def _nothing_is_missing_in_silence(self) -> Self:
        if not self.ours and not self.note:
            message = f"for {self.name!r} either columns (ours) or the reason why there are none (note)"
            raise ValueError(message)
        return self

    def members(self, columns: Mapping[str, str]) -> tuple[str, ...]:
        """Those of `columns` (the feature of each column) that are this input, in their order."""
        patterns = [choice for pattern in self.ours for choice in alternatives(pattern)]
        return tuple(
            column
            for column, feature in columns.items()
            if any(fnmatchcase(column, pattern) or fnmatchcase(feature, pattern) for pattern in patterns)
        )


class DocumentPart(Settings):
    """One list of inputs in one section of a document.

    Attributes:
        document: its number, such as 000.
        section: number or title of the section.
        title: what the list is of.
        times: how often we make each counted column: for two rungs, or as detected and confidence.
        note: what holds for the whole list.
        inputs: in the document's order.
    """

    document: str
    section: str
    title: str
    times: int = pydantic.Field(default=1, ge=1)
    note: str = ""
    inputs: tuple[DocumentInput, ...] = pydantic.Field(min_length=1)

    @property
    def count(self) -> int:
        """Columns that the document counts in this list."""
        return sum(each.count or 0 for each in self.inputs)


class Documents(Settings):
    """All lists of all documents."""

    parts: tuple[DocumentPart, ...]


@cache
def documents() -> tuple[DocumentPart, ...]:
    """Every list of `documents.yaml`; raises `ConfigError` for a file that cannot be used."""
    return Documents.parse(read_yaml(DOCUMENTS), DOCUMENTS.name).parts


def alternatives(pattern: str) -> tuple[str, ...]:
    """The patterns that one with braces stands for.

    Example:
        >>> alternatives("ch_open_{1h,15m}")
        ('ch_open_1h', 'ch_open_15m')
    """
    head, brace, rest = pattern.partition("{")
    if not brace:
        return (pattern,)
    choices, _, tail = rest.partition("}")
    return tuple(f"{head}{choice}{end}" for choice in choices.split(",") for end in alternatives(tail))
