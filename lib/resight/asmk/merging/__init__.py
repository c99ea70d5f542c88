"""Aggregation across images by tasks: pairs inside words, counts per image pair, components per word.

The kernels, and the paper, are in `resight.asmk.across`. Long lists are cut into blocks, and a task takes
pairs of blocks; counting the matches of image pairs is the one shuffle of all matches.
"""
