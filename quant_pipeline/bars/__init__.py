"""Price bars: their schema, cleaning, sessions, resampling, and `asof.py`, the ONE point-in-time join.

Here belongs whatever turns stored raw rows into clean bars of every timeframe and aligns tables in time.
Not here: fetching and storing raw rows (sources), anything computed from prices (features, labels).
"""
