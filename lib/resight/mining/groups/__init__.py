"""Pairs of images that something else than a walk or a 3D model puts together.

*Verified*: components of pairs whose geometry was verified stand for models, inliers for common points, the
transform for the change of scale (a substitute where no reconstruction exists). *Labels*: images of one
label, known or propagated, weighted by how certain both are (Iscen et al., "Label propagation for deep
semi-supervised learning", CVPR 2019, section 4, with a metric loss in the place of the classifier's).

Modules: ``work`` (scales of transforms, partners within a label), ``spark``.
"""
