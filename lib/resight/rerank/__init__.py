"""Second looks at a first ranking.

Modules: ``hqe`` (Hamming query expansion without geometry).
"""
