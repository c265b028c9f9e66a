"""Headlines: collected from RSS feeds or read from the user's files, and stored so that a moment's knowledge never changes.

What belongs here: asking and parsing feeds, tidying titles, the append-only article store. What does not: what a title
means; encoding and sentiment are features (`features/text`).
"""
