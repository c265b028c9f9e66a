"""From a trained bundle to a signal: bundles, the champion, prediction, decision, signals, replay.

What belongs here is run every hour with what was fitted elsewhere; the same code answers live, in a backtest and in a
replay. Nothing here trains, and nothing here reads a clock: the moment is always an argument.
"""
