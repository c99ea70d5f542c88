"""Geometric verification: whether the keypoints of two photos tell of one transform between them.

Modules: ``match`` (which keypoints correspond), ``estimate`` and ``robust`` (the transform that explains most
of them), ``overlap`` (what the transform says about the two frames), ``agreement`` (the aligned pixels),
``mirror`` (keypoints of the mirrored photo), ``verify`` (all of it for a pair), ``feature_files`` (keypoints
of many photos, memory-mapped), ``keep`` (a chunk of photos to such files), ``work`` (a chunk of pairs),
``spark`` (pairs over the executors).
"""
