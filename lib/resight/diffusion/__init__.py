"""Ranking by diffusion: a query's similarity to a few images spreads over the neighbour graph.

``(I - alpha S) f = (1 - alpha) y`` is solved by conjugate gradient, ``S`` the normalised affinity of mutual
neighbours and ``y`` what the query observes; an image scores high when a chain of similar images leads to it.
It runs over images or over regions that are pooled to images, over all of the graph or over a shortlist, for
queries as they come or for every image ahead of time, and what it did not reach follows by similarity.

Iscen, Tolias, Avrithis, Furon, Chum, "Efficient diffusion on region manifolds", CVPR 2017; the decoupled form
is that of Yang et al., "Efficient image retrieval via decoupling diffusion", AAAI 2019.

Modules: ``normalize`` (affinity to S), ``order`` (of nodes), ``product`` (S times a block) on ``compiled``,
``solve``, ``observe`` (y), ``pooling`` (regions to images), ``compress`` (fewer regions), ``truncate``
(shortlists), ``offline`` (every node ahead of time) with its compiled loops in ``local`` and ``lanes``,
lists in ``reach``, ``expansion`` (average and alpha query expansion, region matching), ``rank``,
``explain`` (paths), ``block`` and ``spark`` (the offline job), ``plan`` (which way a graph takes),
``partitioned`` (a graph of which no process holds more than its part).
Reads ``edges`` and ``neighbors``; gives ``manifold_neighbors`` and, for a search, ``results``.
"""
