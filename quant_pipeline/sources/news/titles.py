"""Titles as text: made tidy for storing, and reduced to a key by which two copies of one headline are recognised."""

from __future__ import annotations

import hashlib
import re
import unicodedata

LONGEST = 500
"""Characters; the longest real headline of the samples has 284."""
_SPACE = re.compile(r"\s+")
_NOT_WORD = re.compile(r"[\W_]+")


def tidy(text: str) -> str:
    r"""One line of composed Unicode (NFKC): no control characters or lone surrogates, single spaces, ends stripped.

    Example:
        >>> tidy("  Gold\x00 rises\n to\u00a0$4,000 ")
        'Gold rises to $4,000'
    """
    spaced = _SPACE.sub(" ", unicodedata.normalize("NFKC", text))
    kept = "".join(letter for letter in spaced if unicodedata.category(letter)[0] != "C")
    return _SPACE.sub(" ", kept).strip()


def without_source(title: str, source: str) -> str:
    """The title less the ` - Reuters` that aggregators append, where `source` says the same.

    Example:
        >>> without_source("Gold rises - Reuters", "Reuters")
        'Gold rises'
    """
    bare = title.removesuffix(f" - {source}") if source else title
    return bare or title


def title_key(title: str) -> str:
    """Letters and digits of a title in lower case: equal for copies that differ in case, quotes, dashes or spaces."""
    return _NOT_WORD.sub(" ", title.casefold()).strip() or title.casefold()


def article_id(title: str, link: str | None) -> str:
    """32 hex digits from the title's key and the link."""
    return hashlib.blake2b(f"{title_key(title)}\n{link or ''}".encode(), digest_size=16).hexdigest()
