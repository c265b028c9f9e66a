"""What the decisions would have earned, and the pages that say so: engine, statistics, figures, skill report.

Here: fills, costs, equity and their honest presentation. Not here: how a decision is made (inference), how large it
may be (risk), how skill is measured (validation), and anything that reads or writes files.
"""
