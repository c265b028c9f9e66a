"""What titles mean: text encoders, the store of their embeddings, sentiment, and which articles a decision may read.

What belongs here: everything from a tidy title to numbers with a place in time. What does not: collecting or storing
articles (`sources/news`) and the news features themselves (`features/news.py`).
"""
