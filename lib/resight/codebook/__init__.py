"""Codebooks of visual words: k-means on a sample of local descriptors, and the assignment to words.

A visual word is a centroid; the words of a descriptor are its nearest centroids (Sivic and Zisserman, ICCV
2003). A codebook also says how residuals become bits: against the centroid, or after a random projection
against the median of each word (Jégou, Douze, Schmid, ECCV 2008).

Modules: ``model`` (what is stored and how workers map it), ``quantize`` (assignment, exact or over groups of
centroids), ``nearest`` and ``visit`` (its compiled loops), ``kmeans`` (the iterations), ``medians``
(projection and thresholds), ``sample`` (which descriptors are drawn), ``plan`` (on one machine or over
tasks), ``spark`` (the sample as files, sums and medians by tasks). Reads ``local_descriptors``; the codebook
goes into ``models``.
"""
