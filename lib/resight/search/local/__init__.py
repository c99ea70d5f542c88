"""Searches by local features: which index is searched, what asks it, on Spark and off it.

Modules: ``locate`` (the files of an index), ``stored`` (keypoints of indexed images), ``answer`` (queries of
every kind without Spark), ``work`` (a chunk of images that ask), ``spark`` (the index of a job's run,
descriptors of images of the collection).
Reads ``shards``, ``image_stats``, ``word_stats``, ``models`` and ``local_descriptors``; gives ``results``.
"""
