"""The simulated profile: a seeded market whose every fact is made up, and whose best reachable skill is known.

What belongs here: the recipe of that market (`world`, `couplings`), its randomness (`noise`), its path (`minutes`,
`kernels`, `path`), its headlines and macro releases, and the oracle that grades forecasts against it. What does not:
anything that real sources need. Rows depend only on (seed, parameters, moment), never on the window that was asked
for, so a longer history always begins with the shorter one.
"""
