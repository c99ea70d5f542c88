"""Aggregated selective match kernels: images as one code per visual word, ranked over an inverted file.

Only descriptors of the same visual word are compared, strong matches count and weak ones vanish, and all
descriptors that an image has in a word act as one vector (Tolias, Avrithis, Jégou, IJCV 2015); without the
projection of Hamming embedding it is the form that HOW uses (Tolias, Jenicek, Chum, ECCV 2020).

Modules: ``binarize`` (signs as bits, Hamming distances), ``aggregate`` (the descriptors of an image to its
entries), ``kernel`` (selectivity, similarities of all four variants), ``statistics`` (weights of words,
norms), ``growth`` (which shards are written again), ``across`` (aggregation over images), ``work`` (a chunk
of images to entries), ``spark`` (tables of an index and its shards), ``merging`` (aggregation over images by
tasks), ``shard`` (an inverted file on disk), ``score`` and ``search`` (queries against shards), ``searching``
(what a search opens). Reads ``images``, ``models``, ``local_descriptors``; writes ``entries``,
``word_stats``, ``image_stats``, ``shards``.
"""
