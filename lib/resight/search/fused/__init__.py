"""One ranking from a global descriptor, an inverted file, verification and diffusion.

Modules: ``similarity`` (one or several descriptors as one similarity), ``rank`` (queries), ``recipe`` (what
the settings say), ``lists`` (neighbour lists of the graph, from sparse lists), ``rankings`` (which searches
may be ingredients), ``verified`` (pairs that were verified before), ``pack`` (queries from
Arrow rows), ``spark`` (the same over the executors), ``running`` (from the inputs of a job),
``locate`` and ``answer`` (the same without Spark).
"""
