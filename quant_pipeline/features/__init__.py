"""What is known about a bar when it closes: the feature registry, one module per family, and their joining.

Here belong pure functions from bar columns to one value per bar, the kernels they share, and `build.py`, which
computes any set of them on every rung and brings them to the decision times. Not here: reading or cleaning
bars, labels, scalers fitted on training rows, anything that looks at another symbol or at a model.
"""
