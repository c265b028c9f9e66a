"""Labels: the triple barrier on net profit, the weights of its samples, and the tuning of its barriers.

What belongs here looks into the future on purpose, and says until when: every row carries `label_end`, the moment
from which it may be used. Nothing here is an input of a model. Which rows a fold may train on is decided in
`validation`; what a trade would have earned bar by bar is in `backtest`.
"""
