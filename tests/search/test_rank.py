import msgspec
import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.block import DiffuseWork
from resight.diffusion.normalize import normalize_affinity
from resight.knn.copies import to_offsets
from resight.knn.matrix import save_array
from resight.search.collection import SearchFiles
from resight.search.manifold import ManifoldFiles
from resight.search.rank import answer_queries, chunk_queries
from resight.search.settings import SearchSettings
from tests.search.collections import dense_ranking, save_collection, save_vectors
from tests.synthetic import planted, unit

ALL = SearchSettings(method="diffusion", depth="all", tol=1e-12, alpha=0.9)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    rng = np.random.default_rng(3)
    vectors = planted(rng, k=8, m=8, n_distractors=20, n_copies=12, d=16).vectors
    ids = rng.permutation(10 * len(vectors))[: len(vectors)].astype(np.int64)
    return save_collection(tmp_path_factory.mktemp("collection"), ids, vectors)


def queries(n=5, d=16, seed=1):
    return unit(np.random.default_rng(seed).normal(size=(n, d))).astype(np.float32)


def near(opened, n=5):
    Q = opened.gather(np.arange(0, 7 * n, 7)) + 0.1 * queries(n)
    return unit(Q).astype(np.float32)


def strangers(n):
    return np.full(n, -1, np.int64)


@pytest.mark.parametrize("k_q", [1, 10])
def test_diffusion_equals_a_dense_solve_and_the_rest_follows_by_similarity(made, k_q):
    searched, first, A = made
    collection = searched.open()
    Q = near(collection.X)
    settings = msgspec.structs.replace(ALL, query_neighbors=k_q)
    for q, answer in zip(Q, answer_queries(Q, strangers(5), collection, settings), strict=True):
        order, score = dense_ranking(q, collection.X, first, A, k_q=k_q, alpha=0.9)
        assert sorted(answer.ordinals) == list(range(collection.X.n))
        reached = score[answer.ordinals] > 0
        np.testing.assert_allclose(answer.scores[reached], score[answer.ordinals][reached], rtol=1e-6)
        assert (np.diff(answer.scores) <= 1e-9).all()
        ties = np.isclose(score[order], score[answer.ordinals], rtol=1e-9)
        assert ties.all()
        np.testing.assert_array_equal(order[score[order] <= 0], answer.ordinals[~reached])


@pytest.mark.parametrize("method", ["global", "average_qe", "alpha_qe", "diffusion"])
def test_a_shallow_answer_is_the_head_of_a_deep_one_and_leaves_the_query_out(made, method):
    collection = made[0].open()
    own = np.array([0, 5, 40])
    Q = collection.X.gather(own)
    settings = SearchSettings(method=method, depth="all", tol=1e-12)
    deep = list(answer_queries(Q, own, collection, settings))
    few = list(answer_queries(Q, own, collection, msgspec.structs.replace(settings, depth=4)))
    for i in range(3):
        np.testing.assert_array_equal(few[i].ordinals, deep[i].ordinals[:4])
        np.testing.assert_allclose(few[i].scores, deep[i].scores[:4], rtol=1e-5, atol=1e-7)
        assert sorted([*deep[i].ordinals, own[i]]) == list(range(collection.X.n))


def test_copies_share_the_score_of_the_image_that_stands_for_them(made):
    collection = made[0].open()
    copies, firsts = collection.X.copies
    for answer in answer_queries(near(collection.X), strangers(5), collection, ALL):
        score = dict(zip(answer.ordinals.tolist(), answer.scores.tolist(), strict=True))
        assert all(score[int(c)] == score[int(f)] for c, f in zip(copies, firsts, strict=True))


def test_a_shortlist_of_everything_changes_nothing(made):
    collection = made[0].open()
    Q = near(collection.X)
    full = list(answer_queries(Q, strangers(5), collection, ALL))
    for renormalise, depth in ((True, "all"), (False, "all"), (True, 10**6)):
        cut = msgspec.structs.replace(ALL, shortlist=10**6, renormalise=renormalise, depth=depth)
        for a, b in zip(full, answer_queries(Q, strangers(5), collection, cut), strict=True):
            np.testing.assert_allclose(a.scores, b.scores, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [12, 25])
def test_a_shortlist_diffuses_among_the_nearest_images_alone(made, size, monkeypatch):
    searched, first, A = made
    collection = searched.open()
    Q = near(collection.X)
    cut = msgspec.structs.replace(ALL, shortlist=size, depth=12)
    monkeypatch.setattr("resight.search.rank.SOLVE_BYTES", 2 * 8 * 3 * size)  # two queries at a time
    assert [s.stop - s.start for s in chunk_queries(5, collection, cut)] == [2, 2, 1]
    for q, answer in zip(Q, answer_queries(Q, strangers(5), collection, cut), strict=True):
        similarity = collection.X.gather(first).astype(float) @ q
        nearest = np.argsort(-similarity, kind="stable")[:size]
        S = normalize_affinity(sp.csr_array(A[np.ix_(nearest, nearest)])).S.toarray()
        y = np.where(np.arange(size) < 10, np.maximum(similarity[nearest], 0) ** 3, 0)
        score = dict(zip(first[nearest], np.linalg.solve(np.eye(size) - 0.9 * S, 0.1 * y), strict=True))
        standing = collection.X.representative_of(answer.ordinals)
        expected = np.array([score.get(ordinal, 0.0) for ordinal in standing])
        reached = answer.scores > 0
        np.testing.assert_allclose(answer.scores[reached], expected[reached], rtol=1e-5)
        assert (np.abs(expected[~reached]) < 1e-10).all()


def save_manifold(searched, folder, *, depth=10**6):
    """Diffuse from every node and write the rows as files."""
    graph, X = searched.graph.open(), searched.vectors.open()
    work = DiffuseWork(searched.graph, "v", alpha=0.9, shortlist=10**6, depth=depth, max_iter=500, tol=1e-12)
    rows = work.diffuse(np.arange(graph.n)).sort_by("src")
    lists = [np.frombuffer(row.as_buffer(), np.int64) for row in rows["dst"]]
    scores = np.concatenate([np.frombuffer(row.as_buffer(), np.float32) for row in rows["score"]])
    arrays = (
        X.ordinal_of(rows["src"].to_numpy()),
        to_offsets(np.array([len(row) for row in lists])),
        X.ordinal_of(np.concatenate(lists)).astype(np.int32),
        scores,
    )
    names = tuple(save_array(str(folder), f"m{i}", array) for i, array in enumerate(arrays))
    return SearchFiles(searched.vectors, searched.graph, ManifoldFiles(str(folder), ((0, names),)))


def test_offline_diffusion_of_whole_components_equals_the_solve(made, tmp_path):
    collection = save_manifold(made[0], tmp_path).open()
    Q = near(collection.X)
    offline = msgspec.structs.replace(ALL, method="offline_diffusion")
    for a, b in zip(
        answer_queries(Q, strangers(5), collection, ALL),
        answer_queries(Q, strangers(5), collection, offline),
        strict=True,
    ):
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-6, atol=1e-12)
        assert set(a.ordinals[:5]) == set(b.ordinals[:5])
        assert a.residual <= 1e-12
        assert (b.iterations, b.residual) == (None, None)


def test_a_query_far_from_everything_is_ranked_by_similarity_and_flagged(tmp_path):
    X = unit(np.abs(np.random.default_rng(0).normal(size=(30, 8)))).astype(np.float32)
    collection = save_collection(tmp_path, np.arange(30), X)[0].open()
    q = -unit(X.mean(0, keepdims=True)).astype(np.float32)
    answer = next(answer_queries(q, strangers(1), collection, ALL))
    assert answer.no_support
    np.testing.assert_array_equal(answer.ordinals, np.lexsort((np.arange(30), -(X @ q[0]))))


def test_paths_lead_from_the_query_to_the_result_over_edges(made):
    collection = made[0].open()
    settings = msgspec.structs.replace(ALL, depth=10, explain=3)
    affinity = collection.nodes.affinity_among(np.arange(collection.nodes.n)).toarray()
    n_paths = 0
    for answer in answer_queries(near(collection.X), strangers(5), collection, settings):
        for ordinal, path in zip(answer.ordinals, answer.paths, strict=False):
            if not len(path.src):
                continue
            n_paths += 1
            assert path.src[0] == -1
            assert path.dst[-1] == ordinal
            np.testing.assert_array_equal(path.src[1:], path.dst[:-1])
            ends = collection.X.representative_of(path.dst[1:])
            src, dst = collection.places[path.src[1:]], collection.places[ends]
            np.testing.assert_allclose(path.affinity[1:], affinity[src, dst])
    assert n_paths >= 5


def test_the_paths_of_a_query_of_the_collection_begin_at_itself(made):
    collection = made[0].open()
    settings, own = msgspec.structs.replace(ALL, depth=10, explain=10), np.arange(collection.X.n)
    firsts, n_longer = collection.X.representative_of(own), 0
    answers = answer_queries(collection.X.gather(own), own, collection, settings)
    for i, answer in enumerate(answers):
        for ordinal, path in zip(answer.ordinals, answer.paths, strict=False):
            n_longer += len(path.dst) > 1
            assert not len(path.src) or (path.src[0], path.dst[-1]) == (-1, ordinal)
            assert firsts[i] not in path.dst[:-1]
            np.testing.assert_allclose(path.product, np.cumprod(path.affinity))
    assert n_longer > 20


def test_an_image_that_is_gone_since_its_graph_was_made_is_in_no_answer_and_on_no_path(made, tmp_path):
    old, first, A = made[0].vectors.open(), made[1], made[2]
    gone = int(first[np.argmax((A > 0).sum(1))])  # many are linked by it
    kept = np.delete(np.arange(old.n), gone)
    vectors = save_vectors(tmp_path, old.id_of(kept), old.gather(kept))
    collection = SearchFiles(vectors, made[0].graph).open()
    settings = msgspec.structs.replace(ALL, explain=20)
    own = np.arange(0, vectors.n, 4)
    answers = list(answer_queries(collection.X.gather(own), own, collection, settings))
    for i, answer in zip(own, answers, strict=True):
        assert sorted([i, *answer.ordinals]) == list(range(vectors.n))
        for path in answer.paths:
            assert (path.dst >= 0).all()
            assert (path.src[1:] >= 0).all()
    assert sum(len(path.dst) > 1 for answer in answers for path in answer.paths) > 20


def test_the_precision_is_that_of_shortlists_too(made):
    collection = made[0].open()
    Q, cut = near(collection.X), msgspec.structs.replace(ALL, shortlist=25, depth=12, tol=1e-6)
    wide, narrow, shared = (
        list(answer_queries(Q, strangers(5), collection, settings, threads=threads))
        for settings, threads in (
            (cut, 1),
            (msgspec.structs.replace(cut, precision="float32"), 1),
            (cut, 2),
        )
    )
    for a, b, c in zip(wide, narrow, shared, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(a.scores, c.scores)
    assert any((a.scores != b.scores).any() for a, b in zip(wide, narrow, strict=True))


def test_the_query_can_be_left_out_of_its_expansion(made):
    collection = made[0].open()
    Q = near(collection.X)
    settings = SearchSettings(method="average_qe", expansion=1, include_query=False, depth=9)
    nearest = [answer.ordinals[0] for answer in answer_queries(Q, strangers(5), collection, SearchSettings())]
    expected = answer_queries(collection.X.gather(np.array(nearest)), strangers(5), collection, settings)
    for a, b in zip(answer_queries(Q, strangers(5), collection, settings), expected, strict=True):
        np.testing.assert_array_equal(a.ordinals, b.ordinals)


def test_longer_chains_are_found_when_more_hops_are_allowed(made):
    collection = made[0].open()
    Q = near(collection.X)
    n_found = []
    for hops in (1, 2, 30):
        settings = msgspec.structs.replace(ALL, explain=60, explain_hops=hops)
        answers = answer_queries(Q, strangers(5), collection, settings)
        lengths = [len(path.src) for answer in answers for path in answer.paths]
        assert max(lengths) <= hops
        n_found.append(np.count_nonzero(lengths))
    assert n_found[0] < n_found[1] < n_found[2]


def test_offline_diffusion_is_explained_by_the_same_chains(made, tmp_path):
    collection = save_manifold(made[0], tmp_path).open()
    Q, n_longer = near(collection.X), 0
    settings = [
        msgspec.structs.replace(ALL, explain=60, method=m) for m in ("diffusion", "offline_diffusion")
    ]
    for pair in zip(*(answer_queries(Q, strangers(5), collection, s) for s in settings), strict=True):
        chains = [dict(zip(a.ordinals[:60].tolist(), a.paths, strict=True)) for a in pair]
        for result in chains[0].keys() & chains[1].keys():
            n_longer += len(chains[0][result].src) > 1
            for ours, theirs in zip(chains[0][result], chains[1][result], strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert n_longer >= 5
