"""What the user chooses: the universe (symbols, calendars, costs, risk) and the experiment (everything else).

Both are YAML files that become frozen pydantic objects, validated whole before any work starts. No defaults
are hidden in code that a YAML file cannot override. Nothing here reads market data.
"""
