"""What is learned from a fold's training rows before its models: the regimes, and the columns that are worth their place.

No model lives here, so the registry finds none.
"""
