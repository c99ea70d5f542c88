from dataclasses import replace

import msgspec
import numpy as np
import pytest

from resight.arrow import vectors_to_arrow
from resight.config import SettingError
from resight.diffusion.partitioned.storage.spark import write_partitioned_files
from resight.knn.matrix import save_array
from resight.search.partitioned.spark import search_partitioned
from resight.search.settings import SearchSettings
from resight.search.spark import search, unpack_explanations, unpack_results
from tests.diffusion.partitioned.tables import graph_tables, save_planted

MORE = {"depth": "all", "explain": 3, "precision": "float32"}
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


def mask(searched, folder):
    """Allow two thirds of the images, copies among them and not."""
    allowed = np.arange(searched.vectors.n) % 3 > 0
    return replace(searched, allowed=(str(folder), save_array(str(folder), "mask", allowed)))


def compare_hops(answers, expected_answers, n):
    """See that the chains to the first ``n`` results are the same, but for chains that are as strong."""
    keys = [("query_id", "ascending"), ("image_id", "ascending"), ("hop", "ascending")]
    rows, others = (
        unpack_explanations(a).toArrow().sort_by(keys).to_pylist() for a in (answers, expected_answers)
    )
    assert (len(rows) > 20) == bool(n)
    ends, expected = ({(row["query_id"], row["image_id"]): row for row in side} for side in (rows, others))
    assert len(ends.keys() & expected.keys()) >= 0.8 * max(len(ends), len(expected))  # but for ties of rank
    for key in ends.keys() & expected.keys():
        assert ends[key]["product"] == pytest.approx(expected[key]["product"], rel=1e-9)
        assert ends[key]["dst"] == expected[key]["dst"]


def ranked(answers):
    rows = unpack_results(answers, "diffusion").toArrow()
    return rows.sort_by([("query_id", "ascending"), ("rank", "ascending")])


@pytest.mark.parametrize(("n_parts", "options"), [(1, {"depth": 9}), (2, MORE)])
def test_the_answers_are_those_of_the_replicated_path(made, queries, tmp_path, n_parts, options):
    searched, tables = made
    settings = msgspec.structs.replace(SETTINGS, **options)
    if options is MORE:
        searched = mask(searched, tmp_path)
    parts = write_partitioned_files(tables, str(tmp_path / "graph"), n_parts=n_parts)
    answers = search_partitioned(
        queries, (searched, parts), settings, str(tmp_path / "s"), source_dtype="float32"
    ).cache()
    expected_answers = search(queries, searched, settings, source_dtype="float32").cache()
    compare_hops(answers, expected_answers, settings.explain)
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
        search_partitioned(queries, (made[0], None), settings, str(tmp_path))
