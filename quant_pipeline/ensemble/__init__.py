"""Combining models: out-of-fold rows in, one calibrated forecast out. Stacking, voting, calibration, class payoffs.

Everything here is fitted on out-of-fold predictions only and answers in plain NumPy, so it is stored as JSON. Base
models, their training and the decision to trade do not belong here.
"""
