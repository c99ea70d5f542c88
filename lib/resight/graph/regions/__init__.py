"""Regions of images as nodes of a graph: all of them, or the means of a Gaussian mixture of each image's own.

Iscen et al., "Efficient diffusion on region manifolds", CVPR 2017, sections 3.2 and 3.4. Every node carries
the weight of generalised max-pooling with which it counts in the score of its image.

Modules: ``nodes`` (regions to nodes), ``spark`` (`REGION_DESCRIPTORS` rows to `NODES` rows and vectors).
"""
