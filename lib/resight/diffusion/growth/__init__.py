"""Offline diffusion that follows its graph: only rows whose system changed are computed again.

The row of a node is solved among its shortlist, on entries of S that hang on the degrees of both ends. A row
is *the same* when no node that its walk came by has other edges than before. It has *changed* when its
shortlist is another one, or an edge between two listed nodes is. In between it is *stale*: edges that lead
out of the list changed, and with them the degrees of some listed nodes. Such a row may stay as it is; its
error, which is measured on a sample, says whether it should.

Modules: ``judge`` (which of the three a row is), ``spark``. Reads two versions of ``edges`` and the last
``manifold_neighbors``.
"""
