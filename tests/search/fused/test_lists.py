import numpy as np
import pytest

from resight.search.fused.lists import Seen, fuse_pairs, join_directions, list_finds, rank_neighbors
from tests.search.fused.worlds import dense_fused, make_world, ranked_row

NOTHING = Seen(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def sparse_lists(world, *, n_near, k, rng):
    """The lists of all images from their nearest and what stands out, rows shuffled."""
    descriptors, n = world.files.open(), len(world.ids)
    parts = [list_finds(i, *ranked_row(world, i), descriptors.X) for i in range(n)]
    near = np.argsort(-(world.X @ world.X.T), axis=1)[:, 1 : n_near + 1]
    src = np.repeat(np.arange(n), n_near)
    parts.append(Seen(src, near.ravel(), np.zeros(len(src))))
    seen = Seen(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    order = rng.permutation(len(seen.src))
    pairs = join_directions(Seen(*(column[order] for column in seen)))
    fused = fuse_pairs(pairs, descriptors)
    ends = np.concatenate([pairs.src, pairs.dst]), np.concatenate([pairs.dst, pairs.src])
    return rank_neighbors(*ends, np.tile(fused, 2), k=k), pairs, fused


def test_fused_similarities_of_candidates_are_those_of_the_dense_matrix(rng, tmp_path):
    world = make_world(tmp_path, rng)
    _, pairs, fused = sparse_lists(world, n_near=10, k=6, rng=rng)
    np.testing.assert_allclose(fused, dense_fused(world)[pairs.src, pairs.dst], atol=1e-6)
    assert (pairs.src < pairs.dst).all()
    assert len(np.unique(pairs.src * 60 + pairs.dst)) == len(pairs.src)


def test_sparse_lists_equal_dense_ones_when_candidates_suffice(rng, tmp_path):
    world = make_world(tmp_path, rng)
    lists, _, _ = sparse_lists(world, n_near=59, k=7, rng=rng)
    dense = dense_fused(world)
    np.fill_diagonal(dense, -np.inf)
    expected = np.argsort(-dense.astype(np.float32), axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(lists.dst.reshape(60, 7), expected)
    np.testing.assert_allclose(
        lists.similarity.reshape(60, 7), np.take_along_axis(dense, expected, 1), atol=1e-6
    )


def test_what_rankings_see_adds_up(rng):
    src, dst = np.array([3, 3, 8, 3, 8]), np.array([8, 8, 3, 5, 3])
    seen = Seen(src, dst, np.array([0.0, 1.0, 0.5, 0.0, 0.25]))
    for order in (np.arange(5), rng.permutation(5)):
        pairs = join_directions(Seen(*(column[order] for column in seen)))
        assert [column.tolist() for column in pairs] == [[3, 3], [5, 8], [0.0, 0.875]]


@pytest.mark.parametrize("k", [1, 3, 100])
def test_lists_are_cut_to_the_best_by_the_tie_rule(k):
    src, dst = np.array([5, 2, 5, 5, 2]), np.array([9, 1, 4, 7, 3])
    lists = rank_neighbors(src, dst, np.array([0.5, 0.1, 0.5, 0.9, 0.2]), k=k)
    full = {2: [3, 1], 5: [7, 4, 9]}
    np.testing.assert_array_equal(lists.src, [2, 5])
    for i, s in enumerate(lists.src.tolist()):
        assert lists.dst[lists.offsets[i] : lists.offsets[i + 1]].tolist() == full[s][:k]


def test_copies_stand_for_one_image(rng, tmp_path):
    world = make_world(tmp_path, rng, copies=[(4, 30), (4, 31)])
    X = world.files.open().X
    ordinals = np.array([31, 7, 30, -1, 4, 9, *range(10, 30)])
    scores = np.linspace(1, 0.1, len(ordinals)).astype(np.float32)
    seen = list_finds(7, ordinals, scores, X)
    assert sorted(seen.dst.tolist()) == [
        4,
        9,
        10,
        11,
        12,
        13,
        14,
    ]  # of ten that stand out 31, 30, 4 are one
    assert seen.calibrated[seen.dst == 4] == seen.calibrated.max()
    assert set(seen.src) == {7}
    assert len(list_finds(4, np.array([30, 31]), np.ones(2, np.float32), X).src) == 0


def test_images_that_see_nothing_have_no_lists(rng, tmp_path):
    world = make_world(tmp_path, rng)
    assert len(list_finds(3, np.arange(60), np.zeros(60), world.files.open().X).src) == 0
    assert [len(column) for column in join_directions(NOTHING)] == [0, 0, 0]
    lists = rank_neighbors(*NOTHING, k=3)
    assert (len(lists.src), lists.offsets.tolist()) == (0, [0])
