"""A neighbour graph that follows its collection: only lists that new or removed images change are searched.

A list keeps its entries when all of them are still there; new vectors are offered to it. It is searched again
when one of its entries is gone or changed. Equal to a search of everything (exact path). Inverted lists find
fewer neighbours than that: how far the two graphs are apart is then measured on a sample.
"""
