"""Candidates of every kind collected, compared by their pixels, and completed: the flow of one run.

Module: `spark`. Reads ``neighbors``, ``codes`` and ``results``, whichever of them the run has, and the files
of images; gives `DUPLICATE_CANDIDATES` and `DUPLICATE_LIMITS`.
"""
