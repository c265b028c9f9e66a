"""From price bars to trading signals: sources, bars, features, labels, splits, models, ensembles, signals.

Each sub-package is a room whose first paragraph says what belongs there. Data flows down the list in the
README; imports point the other way. Only `orchestration`, `definitions` and `cli` know Dagster.
"""

__version__ = "0.1.0"
