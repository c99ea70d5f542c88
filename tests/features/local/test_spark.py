import numpy as np
import pytest

from resight.features.local.points import LocalFeatures, pack_features
from resight.features.local.spark import sum_local_covariance
from resight.features.whitening import CovarianceSums


def local_rows(spark, features, order):
    columns = pack_features(features, "float16")[1:]
    packed = [column.to_pylist() for column in columns]
    rows = [(int(i), *(None if p[i] is None else bytearray(p[i]) for p in packed)) for i in order]
    return spark.createDataFrame(rows, "image_id long, points binary, vectors binary")


def test_sums_are_those_of_all_keypoints_whatever_the_partitions(spark, rng):
    counts = [3, 0, 5, 1, 40]
    features = [
        LocalFeatures(np.ones((n, 5), np.float32), rng.normal(size=(n, 4)).astype(np.float16)) for n in counts
    ]
    features.append(None)
    X = np.concatenate([one.vectors for one in features[:-1]]).astype(np.float32)
    expected = CovarianceSums.of_rows(X)
    orders = [range(6), rng.permutation(6)]
    found = [
        sum_local_covariance(local_rows(spark, features, order).repartition(n), dtype="float16")
        for n, order in zip((1, 3), orders, strict=True)
    ]
    assert found[0].n == found[1].n == 49
    np.testing.assert_array_equal(found[0].covariance, found[1].covariance)
    np.testing.assert_allclose(found[0].mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found[0].covariance, expected.covariance, rtol=1e-10)


def test_no_keypoint_at_all_is_an_error(spark):
    empty = LocalFeatures(np.zeros((0, 5), np.float32), np.zeros((0, 4), np.float32))
    with pytest.raises(ValueError, match="no usable descriptor"):
        sum_local_covariance(local_rows(spark, [empty], [0]), dtype="float16")
