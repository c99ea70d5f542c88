"""Regions of images as rows: R-MAC windows with their boxes and vectors, kept apart instead of summed.

Iscen et al., "Efficient diffusion on region manifolds", CVPR 2017, section 3.3: the graph of regions finds
small objects that a vector of the whole image misses.

Modules: ``spark`` (packed regions of images to `REGION_DESCRIPTORS` rows, their whitening).
"""
