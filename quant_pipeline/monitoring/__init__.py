"""What watches the running pipeline: drift of the features against their training reference, and alerts to a person.

Here belong figures about live data and the way they reach somebody. Not here: what makes signals (`inference/`), what
starts a retraining (the sensors in `orchestration/` read `decide_retrain`), and the skill of models (`validation/`).
"""
