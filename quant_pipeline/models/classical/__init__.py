"""Models whose fitted form is a few arrays: fitted with a library, answered in plain NumPy. No trees, no networks."""
