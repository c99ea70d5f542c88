"""One model and one block at a time: copies, rules and sides."""

import numpy as np
import pyarrow as pa
import pytest

from resight.mining.reconstruction.work import ModelWork, SplitWork, read_seen
from tests.mining.models import make_model, write_model


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    write_model(make_model(3, n_images=10, n_points=120, track_length=5), folder)
    seen = read_seen(str(folder), 4)
    ids = np.random.default_rng(2).permutation(10) + 70
    return seen.append_column("image_id", pa.array(ids)).append_column("copy_key", pa.array(ids))


def pairs_of(rows, kind="positive"):
    return {(row["anchor"], row["item"]) for row in rows.to_pylist() if row["kind"] == kind}


def test_images_of_one_copy_key_are_never_a_pair(images):
    work = ModelWork(rule="most_common", share=1.0)
    every = pairs_of(work(images))
    keys = np.minimum(images["copy_key"].to_numpy(), 72)  # 72 to 79 are copies of each other
    kept = pairs_of(work(images.drop(["copy_key"]).append_column("copy_key", pa.array(keys))))
    assert kept == {(a, b) for a, b in every if min(a, 72) != min(b, 72)}
    assert len(kept) < len(every)


def test_rules_choose_from_the_nearest_cameras(images):
    def mine(rule):
        return pairs_of(ModelWork(rule=rule, share=1.0, min_overlap=0.5, max_scale=1.6)(images))

    nearest, common, scale = mine("nearest"), mine("most_common"), mine("scale")
    assert scale < common <= nearest
    assert len(nearest) == 90
    assert len(pairs_of(ModelWork(rule="nearest", share=1.0, k=4)(images))) == 40


def test_pairs_do_not_depend_on_the_order_of_rows(images, rng):
    work = ModelWork(share=0.5, n_extra=3, seed=6)
    first, second = work(images), work(images.take(rng.permutation(10)))
    assert first.equals(second)
    assert len(pairs_of(first, "extra")) == 3
    assert len(pairs_of(first, "query")) == 5
    assert set(first["model"].to_pylist()) == {4}


def test_a_model_without_images_has_no_rows_and_a_damaged_one_has_its_error(tmp_path):
    for name in ("cameras", "images", "points3D"):
        (tmp_path / f"{name}.txt").write_text("# nothing\n")
    assert len(read_seen(str(tmp_path), 0)) == 0
    (tmp_path / "images.txt").write_text("1 2 3\n\n")
    (row,) = read_seen(str(tmp_path), 7).to_pylist()
    assert (row["model"], row["name"]) == (7, None)
    assert "images.txt is no part of a COLMAP model" in row["error"]


def test_bound_models_are_on_one_side_and_images_are_counted(rng):
    weights = rng.integers(5, 30, 40)
    links = rng.integers(0, 40, (12, 2))
    rows = pa.table(
        {
            "a": np.append(np.arange(40), links[:, 0]),
            "b": np.append(np.arange(40), links[:, 1]),
            "weight": np.append(weights, np.zeros(12, np.int64)),
        }
    )
    found = SplitWork(0.3, seed=1)(rows.take(rng.permutation(52)))
    validates = np.array(found["split"].to_pylist()) == "validation"
    assert (validates[links[:, 0]] == validates[links[:, 1]]).all()
    assert 0.2 < weights[validates].sum() / weights.sum() <= 0.3
    assert found.equals(SplitWork(0.3, seed=1)(rows))
