"""Macro observations by the day on which they became public: FRED, the user's own files, and the append-only store.

What belongs here: where releases come from and where they are kept. What does not: the simulated ones
(`sources/simulated/releases.py`) and what is made of them (`features/macro.py`).
"""
