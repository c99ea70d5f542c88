"""Normalise the similarities of neighbour lists by a background set: the Spark operators.

An image that resembles everything (a white page, a grey sky) is near to many that are no copies of it. What
it reaches with images that surely are none, the background, says how much of a similarity means nothing. The
score of a pair is ``s(a, b) - weight * (bias(a) + bias(b)) / 2``, where the bias is the mean similarity to
the ``top`` nearest images of the background. Published for a query and a reference with the query's bias
alone (Pizzi et al., CVPR 2022, and the winners of the image similarity challenge 2021); the images of a
collection are both, so here it is the mean of the two.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

from resight.dedup.scope.spark import Names, select_members
from resight.knn.matrix import VectorFiles
from resight.knn.spark import neighbors_long, search_vectors

__all__ = ["is_background", "measure_bias", "pair_above"]


def is_background(names: Names, words: Sequence[str]) -> Column:
    """Give the condition on `IMAGES` of being background: in sources, and meeting conditions, of ``words``.

    ``names`` are those of `name_sources`. A word that is neither raises `SettingError`.
    """
    return sf.coalesce(select_members(names, words, "background"), sf.lit(False))


def measure_bias(
    vectors: DataFrame, background: VectorFiles, *, top: int, source_dtype: str = "float16"
) -> DataFrame:
    """Mean similarity of every image to the ``top`` nearest of the background: ``image_id, bias`` (double).

    ``vectors`` are (image_id, vector); an image whose vector is zero or NaN has no row.
    """
    asked = vectors.select(sf.col("image_id").alias("query_id"), "vector")
    ranked = search_vectors(asked, background, depth=top, source_dtype=source_dtype)
    return ranked.groupBy(sf.col("query_id").alias("image_id")).agg(sf.avg("score").alias("bias"))


def pair_above(
    neighbors: DataFrame, biases: DataFrame, *, margin: float, weight: float = 1.0, top: int
) -> DataFrame:
    """Pair every image with the ``top`` of its `NEIGHBORS` list by normalised score that reach ``margin``.

    ``biases`` are rows of `measure_bias`; images without one are in no pair. Gives ``image_a, image_b``, each
    pair once, image_a < image_b.
    """
    a, b = (
        biases.select(sf.col("image_id").alias(end), sf.col("bias").alias(f"bias_{end}"))
        for end in ("src", "dst")
    )
    mean = (sf.col("bias_src") + sf.col("bias_dst")) / 2
    listed = neighbors_long(neighbors).where("src <> dst").join(a, "src").join(b, "dst")
    scored = listed.withColumn("score", sf.col("similarity").cast("double") - weight * mean)
    own = Window.partitionBy("src").orderBy(sf.desc("score"), "dst")
    near = scored.where(sf.col("score") >= margin).withColumn("place", sf.row_number().over(own))
    ends = sf.least("src", "dst").alias("image_a"), sf.greatest("src", "dst").alias("image_b")
    return near.where(sf.col("place") <= top).select(*ends).distinct()
