"""Pairs of images to train a network with, found without labels.

*From the manifold*: where a walk over the neighbour graph and the similarity of descriptors disagree. An
image that the walk reaches and that does not look alike is a hard positive, one that looks alike and is not
reached a hard negative; anchors are the local maxima of the walk's stationary distribution. Iscen, Tolias,
Avrithis, Chum, "Mining on manifolds: metric learning without labels", CVPR 2018.

*From reconstructions*: positives see the same points of a 3D model, negatives are the nearest images of other
models. Radenovic, Tolias, Chum, "CNN image retrieval learns from BoW", ECCV 2016, and its extension, 2018.

Images are parted into training and validation by clusters of the graph, or by models, never one by one.

Modules: ``entries`` (ragged lists), ``manifold`` (anchors and pools), ``clusters`` (what stays together),
``placing`` (both over a whole graph, and the split), ``pools`` (a block of anchors), ``sampling`` (tuples of
pools), ``spark``, ``reconstruction`` (models of COLMAP), ``settings``, ``training`` (tuples to train with),
``export``, ``dataset`` (torch). Reads ``neighbors`` or descriptors, ``edges``, ``manifold_neighbors``,
``verified_pairs``, ``duplicate_pairs`` and ``duplicate_groups``; gives ``training_pools`` and
``training_tuples``.
"""
