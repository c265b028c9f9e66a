"""Validation: fold schemes, purge and embargo, leakage audits, and the statistics of skill.

What belongs here decides which rows may be learned from and judged on, proves that nothing was used before it was known,
and measures how good forecasts are. Fitting models is `models`, combining them is `ensemble`; money is `backtest`.
"""
