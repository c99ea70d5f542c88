import msgspec
import numpy as np
import pytest

from resight.arrow import vectors_to_arrow
from resight.config import SettingError
from resight.diffusion.partitioned.storage.spark import write_partitioned_files
from resight.search.partitioned.spark import search_partitioned
from resight.search.settings import SearchSettings
from resight.search.spark import search, unpack_results
from tests.diffusion.partitioned.tables import graph_tables, save_planted

SETTINGS = SearchSettings(method="diffusion", depth=9, tol=1e-9, alpha=0.9)


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory):
    searched, ids, A = save_planted(tmp_path_factory.mktemp("collection"))
    return searched, graph_tables(spark, searched, ids, A)


@pytest.fixture(scope="module")
def queries(spark, made):
    Q = made[0].open().X.gather(np.arange(0, 60, 3))
    Q[10:] += 0.05 * np.random.default_rng(0).normal(size=Q[10:].shape).astype(np.float32)
    own = [*made[0].open().X.id_of(np.arange(0, 30, 3)).tolist(), *[None] * 11]
    packed = [*vectors_to_arrow(Q).to_pylist(), bytes(Q[0].nbytes)]  # a zero vector has no answer
    rows = list(zip(range(100, 121), map(bytearray, packed), own, strict=True))
    return spark.createDataFrame(rows[::-1], "query_id long, vector binary, image_id long").repartition(3)


def ranked(answers):
    rows = unpack_results(answers, "diffusion").toArrow()
    return rows.sort_by([("query_id", "ascending"), ("rank", "ascending")])


@pytest.mark.parametrize(("n_parts", "depth"), [(1, 9), (2, "all")])
def test_the_answers_are_those_of_the_replicated_path(made, queries, tmp_path, n_parts, depth):
    searched, tables = made
    settings = msgspec.structs.replace(SETTINGS, depth=depth)
    parts = write_partitioned_files(tables, str(tmp_path / "graph"), n_parts=n_parts)
    files = (searched.vectors, parts)
    answers = search_partitioned(queries, files, settings, str(tmp_path / "s"), source_dtype="float32")
    expected_answers = search(queries, searched, settings, source_dtype="float32")
    found, expected = ranked(answers), ranked(expected_answers)
    assert found["query_id"].equals(expected["query_id"])
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-6, atol=1e-9)
    same = np.equal(found["image_id"], expected["image_id"])
    ties = np.isclose(found["score"], np.roll(found["score"], 1), rtol=1e-6)
    assert (same | ties | np.roll(ties, -1)).all()
    flags = ["query_id", "no_support", "iterations"]
    flags = [frame.select(*flags).toPandas().sort_values("query_id") for frame in (answers, expected_answers)]
    np.testing.assert_allclose(flags[0].to_numpy(float), flags[1].to_numpy(float), atol=1)


def test_what_only_another_path_can_do_is_refused(made, queries, tmp_path):
    settings = msgspec.structs.replace(SETTINGS, shortlist=5)
    with pytest.raises(SettingError, match="partitioned is for the method diffusion"):
        search_partitioned(queries, (made[0].vectors, None), settings, str(tmp_path))
