"""Fitting models of descriptors on a distributed sample.

Whitening needs only sums over rows, learned whitening also sums over the differences of matching pairs
(`resight.features.whitening`): every group of the sample is summed by one task, the few sums are added in a
fixed order.

Modules: `sample` (which images are fitted on), `spark` (the sums). Reads ``global_descriptors`` or
``region_descriptors``, ``images``, ``duplicate_pairs``; what is fitted goes into ``models``.
"""
