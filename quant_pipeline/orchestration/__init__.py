"""Dagster lives here and nowhere else: partitions, assets, checks, jobs, schedules, sensors, IO managers, the runner.

An asset body loads, calls one pure function of another room and returns with metadata. Figures and rules do not
belong here. Heavy libraries are imported inside bodies, so that a code location loads in seconds.
"""
