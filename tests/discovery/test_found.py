import numpy as np
import pyarrow as pa
import pytest

from resight.discovery.found import FOUND, find_objects, find_regions, lay_out, rescue_found
from resight.discovery.pooling import pool_boxes, unit_rows
from resight.discovery.saliency import feature_saliency
from resight.discovery.settings import DiscoverySettings, network_settings, pooling_exponent
from resight.features.photos import Failure
from resight.features.settings import ExtractSettings

CONF = DiscoverySettings()


def draw(rng, h=12, w=16, c=20):
    """Weak activations everywhere, strong ones of some channels in the cells 3 to 8 by 5 to 11."""
    A = np.maximum(rng.normal(size=(h, w, c)) - 1, 0).astype(np.float32)
    A[3:8, 5:11, :6] += 3
    return A


def test_the_boxes_of_a_map_are_described_by_what_is_inside(rng):
    A = draw(rng)
    found = find_regions(A, CONF, p=3)
    boxes = np.rint(found.boxes * [12, 16, 12, 16]).astype(int)
    np.testing.assert_allclose(boxes[0], [3, 5, 8, 11], atol=1)
    np.testing.assert_allclose(found.vectors, unit_rows(pool_boxes(A, boxes, p=3)), rtol=1e-6)
    F = feature_saliency(A)
    y0, x0, y1, x1 = boxes[0]
    np.testing.assert_allclose(found.saliency[0], F[y0:y1, x0:x1].mean(), rtol=1e-6)
    assert found.weights.sum() <= 1 + 1e-6


def test_an_image_in_which_nothing_recurs_is_described_as_a_whole(rng):
    A = draw(rng)
    found = find_objects(A, feature_saliency(A), np.zeros((12, 16), np.float32), CONF, [], p=0)
    assert found.boxes.shape == (0, 4)
    np.testing.assert_allclose(found.vector, unit_rows(A.max(axis=(0, 1))[None])[0], rtol=1e-6)


def test_rows_hold_what_was_found_and_why_there_is_nothing(rng):
    rows = pa.table({"image_id": [5, 3], "content_hash": ["a", "b"], "uri": ["x", "y"]})
    found = find_regions(draw(rng), CONF, p=3)
    table = lay_out(rows, [found, Failure("nan", "why")], dtype="float16")
    assert table.schema == FOUND
    one, other = table.to_pylist()
    assert (one["status"], one["height"], one["width"], other["status"]) == ("ok", 12, 16, "nan")
    boxes = np.frombuffer(one["boxes"], np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(boxes, found.boxes)
    assert len(one["vectors"]) == 2 * found.vectors.size
    assert {other[name] for name in ("boxes", "vectors", "features", "height")} == {None}
    assert rescue_found(rows, "killed")["status"].to_pylist() == ["crashed", "crashed"]


def test_lengths_follow_the_grid_and_patches_have_a_centre():
    assert [CONF.patch_side(*grid) for grid in ((32, 24), (16, 12), (8, 8), (20, 64))] == [5, 3, 3, 9]
    assert CONF.count_cells(2.5, 12, 16) == 1.25


@pytest.mark.parametrize(("pooling", "p"), [("rmac", 0), ("mac", 0), ("spoc", 1), ("gem", 4.5)])
def test_boxes_are_pooled_as_the_descriptors_were(pooling, p):
    regions = {"regions": True} if pooling == "rmac" else {"scales": (1.0, 0.5)}
    network = network_settings(ExtractSettings(pooling=pooling, p=4.5, **regions), 512)
    assert pooling_exponent(network) == p
    assert network.sizes == (512,)
    assert network.pooling == ("mac" if pooling == "rmac" else pooling)


def test_colour_and_several_layers_cannot_say_where_things_are():
    for other in (ExtractSettings(extractor="colour"), ExtractSettings(layers=("head", "block4"))):
        with pytest.raises(ValueError, match="descriptors: discovery needs"):
            network_settings(other, 512)
