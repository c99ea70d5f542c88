"""Sections of the report about what a collection teaches: mined pairs, discovered objects, training.

Modules: `mined` (anchors with positives and negatives), `objects` (a wall of pictures), `training` (epochs
and a curve), each with the function of `collect` that fills it. Reads ``training_pools``,
``training_tuples``, ``objects``, ``object_instances``, ``training_log``.
"""
