"""Sums over stored local descriptors, from which a whitening of them is fitted."""

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from resight.features.fitting.spark import sum_groups
from resight.features.local.points import join_features
from resight.features.whitening import CovarianceSums

__all__ = ["sum_local_covariance"]


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
