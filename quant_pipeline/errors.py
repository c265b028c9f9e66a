"""The errors that a user can meet. Each message names the thing, what was found, what was wanted and the mend."""

from __future__ import annotations


class QuantError(Exception):
    """Base of every error that this package raises on purpose.

    Example:
        >>> str(ConfigError("labels.max_bars", found=0, wanted="a whole number >= 1", mend="edit experiment.yaml"))
        'labels.max_bars: found 0, wanted a whole number >= 1. To mend: edit experiment.yaml'
    """

    def __init__(self, thing: str, *, found: object, wanted: str, mend: str) -> None:
        self.thing, self.found, self.wanted, self.mend = thing, found, wanted, mend
        super().__init__(f"{thing}: found {found}, wanted {wanted}. To mend: {mend}")


class ConfigError(QuantError):
    """A setting, symbol or experiment that cannot be used."""


class DataError(QuantError):
    """Rows or files that break the contract of their table."""


class DamagedError(DataError):
    """Something stored that is not as it was written: never to be taken for absence."""


class SourceError(QuantError):
    """A remote or local source that did not answer, or answered with something unusable."""


class UnreachableError(SourceError):
    """A source to which no network leads: whatever else it is asked fails in the same way."""


class LeakageError(QuantError):
    """A value that was used before it was known."""


class ModelError(QuantError):
    """A model that cannot be fitted, saved, loaded or asked."""


class BundleError(QuantError):
    """A bundle or model folder that is incomplete or changed."""


class MissingUpstreamError(QuantError):
    """An input that another asset has to make first; the mend is the command that makes it."""


class StorageError(QuantError):
    """A disk that is full or a file that cannot be written; nothing half-written stays."""


class BusyError(QuantError):
    """Something that others hold, and that was waited for long enough."""
