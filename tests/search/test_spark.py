import msgspec
import numpy as np
import pytest

from resight.arrow import vectors_to_arrow
from resight.search.rank import answer_queries
from resight.search.settings import SearchSettings
from resight.search.spark import search, unpack_explanations, unpack_results
from tests.search.collections import save_collection
from tests.synthetic import planted

SETTINGS = SearchSettings(method="diffusion", depth=6, explain=1)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    rng = np.random.default_rng(3)
    vectors = planted(rng, k=6, m=6, n_distractors=10, n_copies=5, d=16).vectors
    return save_collection(tmp_path_factory.mktemp("c"), np.arange(len(vectors)) * 3, vectors)[0]


def asking(spark, Q, n_tasks):
    packed = vectors_to_arrow(Q).to_pylist()
    rows = [(100 + i, bytearray(v), 3 * i if i < 4 else None) for i, v in enumerate(packed)]
    rows.append((999, bytearray(bytes(Q[0].nbytes)), None))  # a zero vector has no answer
    frame = spark.createDataFrame(rows, "query_id long, vector binary, image_id long")
    return frame.orderBy(frame.query_id.desc()).repartition(n_tasks)


@pytest.mark.parametrize(("method", "n_tasks"), [("diffusion", 1), ("diffusion", 3), ("alpha_qe", 2)])
def test_distributed_equals_local(spark, searched, method, n_tasks):
    Q = searched.open().X.gather(np.arange(9))
    settings = msgspec.structs.replace(SETTINGS, method=method, explain=int(method == "diffusion"))
    answers = search(asking(spark, Q, n_tasks), searched, settings, source_dtype="float32")
    rows = (
        unpack_results(answers, method).toArrow().sort_by([("query_id", "ascending"), ("rank", "ascending")])
    )
    own = np.array([0, 1, 2, 3, *[-1] * 5])
    local = list(answer_queries(Q, own, searched.open(), settings))
    assert rows["query_id"].to_pylist() == [100 + i for i in range(9) for _ in range(6)]
    np.testing.assert_array_equal(
        rows["image_id"].to_numpy() // 3, np.concatenate([a.ordinals for a in local])
    )
    scores = np.concatenate([a.scores for a in local])
    np.testing.assert_allclose(rows["score"].to_numpy(), scores, rtol=1e-6)


def test_hops_are_rows_that_end_at_the_result(spark, searched):
    Q = searched.open().X.gather(np.arange(9))
    answers = search(asking(spark, Q, 2), searched, SETTINGS, source_dtype="float32")
    hops = unpack_explanations(answers).toPandas().sort_values(["query_id", "image_id", "hop"])
    assert len(hops)
    for (_, image), path in hops.groupby(["query_id", "image_id"]):
        assert path["src"].isna().tolist() == [True] + [False] * (len(path) - 1)
        assert path["dst"].iloc[-1] in {
            image,
            3 * searched.open().X.representative_of(np.array([image // 3]))[0],
        }
        np.testing.assert_allclose(path["product"], path["affinity"].cumprod())
