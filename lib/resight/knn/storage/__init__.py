"""Vectors of a build as memory-mapped files: the Spark side of `knn.matrix` and `knn.copies`."""
