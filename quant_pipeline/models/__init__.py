"""Models of three classes: what a model is (`contract`), how it is found (`registry`), one file a model in a folder a family.

Adding a model is adding one file with one decorated class. What belongs here turns a view into probabilities. Combining
models, calibrating them and deciding on a trade do not.
"""
