"""The shapes that models eat: today the feature matrix (n, F); windows and multi-resolution tensors join it here.

A view holds float32 values of one kind for a set of decisions, with the names of its columns. It is cut out of finished
tables: nothing here computes a feature, joins by time, or knows a label.
"""
