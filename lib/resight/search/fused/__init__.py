"""One ranking from a global descriptor, an inverted file, verification and diffusion.

Modules: ``similarity`` (one or several descriptors as one similarity), ``rank`` (queries), ``lists``
(neighbour lists of the graph, from sparse lists), ``spark`` (the same over the executors), ``running`` (from
the inputs of a job).
"""
