"""Approximate graph by inverted lists: the Spark side of `resight.knn.ivf`."""
