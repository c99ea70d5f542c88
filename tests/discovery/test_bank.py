import numpy as np
import pytest

from resight.discovery.bank import RegionBank, load_bank, save_columns
from resight.knn.matrix import Part, VectorFiles, save_array, save_part
from tests.synthetic import unit


@pytest.fixture
def world(rng, tmp_path):
    """A bank of 30 boxes of ten images; boxes 4 and 17 have one vector."""
    V = unit(rng.normal(size=(30, 8))).astype(np.float32)
    V[17] = V[4]
    ids, image = np.sort(rng.choice(1000, 30, replace=False)), rng.integers(0, 10, 30) * 7
    saliency, g = rng.uniform(size=30).astype(np.float32), rng.uniform(size=30)
    folder = str(tmp_path)
    part = Part(save_part(f"{folder}/vectors", 0, ids, V), 0, 30)
    copies = save_array(f"{folder}/vectors", "copies", np.array([[17], [4]]))
    vectors = VectorFiles(f"{folder}/vectors", 8, "float32", (part,), copies, 1)
    vectors.save()
    order = rng.permutation(30)
    names = save_columns(vectors, folder, ids[order], image[order], saliency[order])
    bank = RegionBank(folder, vectors, names)
    bank.save()
    return bank.with_centrality(save_array(folder, "g", g)), V, image, saliency, g


def test_columns_lie_at_the_ordinals_of_their_boxes(world):
    bank, _, image, saliency, g = world
    opened = bank.open()
    np.testing.assert_array_equal(opened.image, image)
    worth = opened.worth_of(np.arange(30), power=2)
    np.testing.assert_allclose(worth, saliency.astype(float) ** 2 * g)
    assert load_bank(bank.folder).names == bank.names[:-1]
    with pytest.raises(ValueError, match="not known"):
        load_bank(bank.folder).open().worth_of(np.arange(3), power=2)


def test_boxes_of_an_image_are_told_by_what_stands_for_them(world):
    bank, _, image, _, _ = world
    for one in range(0, 70, 7):
        own = np.flatnonzero(image == one)
        assert bank.open().boxes_of(one).tolist() == sorted({4 if i == 17 else int(i) for i in own})
    assert len(bank.open().boxes_of(5)) == 0


@pytest.mark.parametrize("k", [1, 6, 40])
def test_nearest_boxes_are_those_of_all_pairs_without_copies_and_own_ones(world, rng, k):
    bank, V, image, _, _ = world
    U = unit(rng.normal(size=(9, 8))).astype(np.float32)
    without = bank.open().boxes_of(int(image[3]))
    ordinals, similarity = bank.open().nearest(U, k=k, without=without)
    C = U.astype(float) @ V.T.astype(float)
    kept = np.setdiff1d(np.arange(30), [17, *without])
    n = min(k, len(kept))
    for i in range(9):
        best = kept[np.argsort(-C[i, kept], kind="stable")][:n]
        np.testing.assert_array_equal(ordinals[i, :n], best)
        np.testing.assert_allclose(similarity[i, :n], C[i, best], atol=1e-6)
    assert not similarity[:, n:].any()
