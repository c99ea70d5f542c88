"""Long work in chunks that survive kills.

A chunk is a fixed set of rows, the same on every run over the same inputs. Its result is one file, created
once: a restarted run skips the chunks that are there. A chunk that killed its process twice is taken apart
in child processes until the rows that kill are found; those get a status, the others are computed as usual.

Modules: ``work`` (one chunk, no Spark), ``spark`` (all chunks over the executors).
"""
