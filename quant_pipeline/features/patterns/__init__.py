"""Patterns of price: chart, candlestick, harmonic, Elliott, advanced and smart money, each with a confirmation time.

Here belong the shapes that a chartist names. What they are built on is `zigzag` (swings, emitted when confirmed) and
`events` (one detection, and how it becomes features).
"""
