"""Edges of a graph whose lists were renewed: only pairs of which an end has another list are joined again.

An edge depends on the lists of its two ends alone. Pairs without a changed end are kept as they were, and all
others come from one join of the directed pairs that have such an end. Components are labelled anew: one edge
may join or split them.

Modules: ``spark``. Reads two versions of ``neighbors`` and the last ``edges``.
"""
