"""Gradient-boosted trees: one file a library. They eat the feature matrix as it is, gaps included, and need no scaling."""
