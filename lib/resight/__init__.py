"""resight ("see it again"): which images of a large collection show the same thing.

Every folder is one method of the field: its kernels (arrays in, arrays out) import no Spark, its
``spark.py`` holds the operators (DataFrame in, DataFrame out). ``jobs/`` chains them over tables.
"""
