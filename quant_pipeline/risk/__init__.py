"""How much may be risked: size by confidence, circuit breakers, and the portfolio that they look at.

Here belong pure rules that turn a decision into a position and limit it. Not here: how a decision is made (inference),
what a history of positions earned with its reports (backtest), and anything that reads or writes files.
"""
