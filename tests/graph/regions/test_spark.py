import numpy as np
import pytest

from resight.arrow import arrow_to_vectors, vectors_to_arrow
from resight.config import SettingError
from resight.graph.regions.nodes import make_nodes
from resight.graph.regions.spark import build_region_nodes, check_node_ids, list_region_nodes
from resight.store import spark_schema
from resight.tables import NODES

COUNTS = np.array([3, 1, 6, 4])
IMAGES = np.array([9, 10, 2**60, 2**61])


def make_rows(rng):
    X = rng.normal(size=(COUNTS.sum(), 6)).astype(np.float16)
    X[4] = 0
    numbers = np.concatenate([np.arange(n) for n in COUNTS])
    return X, numbers


def to_frame(spark, X, numbers, order, n_tasks):
    packed = vectors_to_arrow(X).to_pylist()
    images = np.repeat(IMAGES, COUNTS).tolist()
    rows = [(images[i], int(numbers[i]), bytearray(packed[i])) for i in order]
    return spark.createDataFrame(rows, "image_id long, region_ix int, vector binary").repartition(n_tasks)


@pytest.mark.parametrize(("n_groups", "compress"), [(1, 0), (3, 2), (50, 2)])
def test_distributed_equals_local(spark, rng, n_groups, compress):
    X, numbers = make_rows(rng)
    frame = to_frame(spark, X, numbers, rng.permutation(len(X)), 3)
    nodes = list_region_nodes(frame, dtype="float16", n_groups=n_groups, compress=compress, lam=0.5, seed=3)
    rows = nodes.toArrow().sort_by([("image_id", "ascending"), ("number", "ascending")])
    offsets = np.append(0, np.cumsum(COUNTS))
    local = make_nodes(X, offsets, numbers.astype(np.int32), compress=compress, lam=0.5, seed=3)
    assert rows["image_id"].to_pylist() == np.repeat(IMAGES, np.diff(local.offsets)).tolist()
    np.testing.assert_array_equal(rows["region_ix"], local.region_ix)
    np.testing.assert_array_equal(arrow_to_vectors(rows["vector"], "float32"), local.vectors)
    np.testing.assert_allclose(rows["weight"].to_numpy(), local.weights, rtol=1e-12)
    assert rows["status"].to_pylist() == local.status.tolist()
    ids = rows["node_id"].to_numpy()
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() >= 0


def test_ids_follow_from_image_number_and_seed(spark, rng):
    X, numbers = make_rows(rng)
    frame = to_frame(spark, X, numbers, range(len(X)), 1)
    whole, part, other = (
        {
            (row["image_id"], row["region_ix"]): row["node_id"]
            for row in list_region_nodes(rows, dtype="float16", n_groups=2, seed=seed).collect()
        }
        for rows, seed in ((frame, 0), (frame.where("image_id < 100"), 0), (frame, 1))
    )
    assert part.items() <= whole.items()
    assert not set(whole.values()) & set(other.values())


def test_two_regions_of_one_id_are_an_error(spark):
    rows = spark.createDataFrame([(5, 1), (6, 1), (5, 2)], "node_id long, image_id long")
    with pytest.raises(SettingError, match="--seed: 2 regions have the node_id 5"):
        check_node_ids(rows)


def test_nodes_say_what_stands_for_them(spark):
    schema = (
        "node_id long, image_id long, number long, region_ix int, vector binary, status string, weight double"
    )
    rows = [(5, 1, 0, 0, b"", "ok", 0.5), (7, 1, 1, 1, b"", "ok", 0.25)]
    copies = spark.createDataFrame([(7, 5)], "node_id long, dup_of long")
    nodes = build_region_nodes(spark.createDataFrame(rows, schema), copies)
    assert nodes.columns == spark_schema(NODES).fieldNames()
    found = {row["node_id"]: (row["dup_of"], row["weight"]) for row in nodes.collect()}
    assert found == {5: (None, 0.5), 7: (5, 0.25)}
