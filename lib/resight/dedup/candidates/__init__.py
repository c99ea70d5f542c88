"""Pairs of images that may be copies, from what is cheap: descriptors, codes, a search by keypoints.

Modules: ``spark``. Reads `NEIGHBORS`, `CODES`, `RESULTS` and `QUERIES`; what it gives is compared pixel by
pixel by `resight.dedup.relating`.
"""
