"""Ranking a collection for queries: one code path for the job on Spark and for the reader without it.

A search opens the files of a build (vectors, graph, offline diffusion), maps them into memory and answers
batches of query vectors by similarity, by query expansion or by diffusion. Images that diffusion does not
reach follow in the order of their similarity: nothing is dropped.

Modules: ``settings`` (what a search is), ``collection`` (the opened files), ``rank`` (vectors to answers:
``diffused`` over images, ``regional`` over regions), ``manifold`` and ``regions`` (files of the offline
diffusion, of regions), ``spark`` (operators), ``queries`` (what is asked), ``storage`` (writing files),
``partitioned`` (over a graph in parts), ``local`` (by keypoints), ``fused`` (by all), ``reader`` and
``found`` (what `resight.open` gives), ``filter``.
Reads ``global_descriptors``, ``nodes``, ``edges``, ``components``, ``manifold_neighbors``; gives ``results``.
"""
