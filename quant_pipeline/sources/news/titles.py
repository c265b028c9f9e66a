"""Titles as text: made tidy for storing, and reduced to a key by which two copies of one headline are recognised."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata

LONGEST = 500
"""Characters; the longest real headline of the samples has 284."""
_SPACE = re.compile(r"\s+")
_NOT_WORD = re.compile(r"[\W_]+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")  # with its semicolon: not R&D, not AT&T
_INSIDE = "a|abbr|b|big|cite|code|em|font|i|ins|mark|s|small|span|strike|strong|sub|sup|tt|u"
_AROUND = "blockquote|br|div|h[1-6]|hr|img|li|ol|p|section|table|tbody|td|th|tr|ul"
_HIDDEN = re.compile(r"(?is)<!--.{0,1000}?-->|<(script|style)\b[^<>]{0,1000}>.{0,1000}?</\1\s*>|<!\[CDATA\[|\]\]>")
_WITHIN_WORD = re.compile(rf"(?i)</?(?:{_INSIDE})(?:\s[^<>]*)?/?>")
_BETWEEN_WORDS = re.compile(rf"(?i)</?(?:{_AROUND})(?:\s[^<>]*)?/?>")
MOST_READ = 10_000
"""Characters of a raw title that are read: mark-up may be longer than its words, but not without end."""
_LAYERS = 4
"""Feeds escape what others had escaped before; deeper than this is no mark-up of a headline."""


def tidy(text: str) -> str:
    r"""One line of composed Unicode (NFKC) without HTML: no tags, entities, control characters or lone surrogates.

    Example:
        >>> tidy("  Gold\x00 <b>rises</b>\n to\u00a0&amp;#36;4,000 ")
        'Gold rises to $4,000'
    """
    spaced = _SPACE.sub(" ", unicodedata.normalize("NFKC", _without_markup(text[:MOST_READ])))
    kept = "".join(letter for letter in spaced if unicodedata.category(letter)[0] != "C")
    return _SPACE.sub(" ", kept).strip()


def _without_markup(text: str) -> str:
    """`text` without the tags of HTML, which may be escaped; `a < b` is no tag."""
    for _ in range(_LAYERS):
        if "&" not in text and "<" not in text and "]]>" not in text:
            return text
        before, text = text, _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
        text = _BETWEEN_WORDS.sub(" ", _WITHIN_WORD.sub("", _HIDDEN.sub(" ", text)))
        if text == before:
            return text
    return text


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


def article_id(title: str, place: str | None) -> str:
    """32 hex digits from the title's key and its `place`: the feed's own id of the story, else its link, else nothing."""
    return hashlib.blake2b(f"{title_key(title)}\n{place or ''}".encode(), digest_size=16).hexdigest()
