"""Fitting models of descriptors on a distributed sample.

Whitening needs only sums over rows (`resight.features.whitening`): every group of the sample is summed by one
task, the few sums are added in a fixed order.

Reads ``global_descriptors``; what is fitted goes into ``models``.
"""
