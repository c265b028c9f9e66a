"""Where data comes from: market bars, headlines and macro releases, each behind the protocol of `base.py`.

What belongs here: one module (or folder) per origin, the append-only raw store and the incremental ingest that
fills it. What does not: judging or repairing rows (`bars/clean.py`), resampling, features. A source hands over
what it was told, defects included.
"""
