"""One module per asset group; each has a factory that takes the house and returns its asset definitions."""
