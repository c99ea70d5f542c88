"""Sums over stored local descriptors, from which a whitening of them is fitted."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from resight.features.fitting.spark import sample_rows, sum_groups
from resight.features.local.points import join_features
from resight.features.whitening import CovarianceSums

__all__ = ["sample_keypoints", "sum_local_covariance"]


def sample_keypoints(local: DataFrame, *, sample: int, seed: int) -> DataFrame:
    """Draw whole images by hash, of `LOCAL_DESCRIPTORS` rows, that have about ``sample`` keypoints in all."""
    usable = local.where("status = 'ok' and n_keypoints > 0").select("image_id", "points", "vectors")
    total = local.where("status = 'ok'").agg(
        sf.avg(sf.when(sf.col("n_keypoints") > 0, sf.col("n_keypoints")))
    )
    mean = (total.first() or [None])[0] or 1.0
    return sample_rows(usable, ["image_id"], sample=max(1, round(sample / mean)), seed=seed)


def sum_local_covariance(rows: DataFrame, *, dtype: str) -> CovarianceSums:
    """Sum the vectors of all keypoints of ``rows``, the same whatever the partitions.

    HOW, section 3.2: mean and covariance of the strongest activations of some images, not normalised.

    Parameters
    ----------
    rows : DataFrame
        ``image_id``, ``points`` and ``vectors`` of `LOCAL_DESCRIPTORS`; a sample that fits into a few tasks.
        Images without keypoints are left out.
    dtype : str
        Of the vectors.

    Raises
    ------
    ValueError
        There is no keypoint.
    """

    def sum_rows(group: pa.Table) -> CovarianceSums:
        return CovarianceSums.of_rows(join_features(group, dtype)[2].astype(np.float32))

    chosen = rows.where("octet_length(points) > 0").select("image_id", "points", "vectors")
    return sum_groups(chosen, ["image_id"], sum_rows)
