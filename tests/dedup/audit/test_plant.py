"""Plans do not depend on order or company; files are written as planned; what cannot be read has a row."""

import numpy as np
import pyarrow as pa
import pytest

from resight.dedup.audit.edits import EDITS
from resight.dedup.audit.plant import LOCATED, PlantWork, crashed_plants, plan_copies
from resight.images.decode import decode_image
from resight.images.ingest import DECODER
from tests.pictures import save_photo


def sample_of(folder, names):
    rows = [(i, str(folder), f"{name}.jpg", None, 1) for i, name in enumerate(names)]
    return pa.Table.from_pylist([dict(zip(LOCATED, row, strict=True)) for row in rows])


def work_in(folder):
    return PlantWork(str(folder), 5, 10**7, DECODER)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("china", "coffee", "rocket"):
        save_photo(name, folder / f"{name}.jpg", side=120)
    return folder


def test_a_plan_has_each_edit_of_each_photo_whatever_the_order(photos):
    sample = sample_of(photos, ["rocket", "china", "coffee"])
    plan = plan_copies(sample, names=tuple(EDITS), seed=3)
    assert len(plan) == 3 * len(EDITS)
    assert plan.equals(plan_copies(sample.take([2, 0, 1]), names=tuple(EDITS), seed=3))
    for row in plan.to_pylist():
        edit = EDITS[row["transformation"]]
        assert row["strength"] in edit.strengths
        assert (row["other_uri"] is not None) == edit.mixes
        assert row["other_uri"] != row["uri"]


def test_a_photo_alone_is_not_mixed(photos):
    plan = plan_copies(sample_of(photos, ["china"]), names=tuple(EDITS), seed=3)
    assert set(plan["transformation"].to_pylist()) == {name for name in EDITS if not EDITS[name].mixes}


def test_files_are_the_same_in_any_company(photos, tmp_path):
    plan = plan_copies(sample_of(photos, ["china", "coffee"]), names=tuple(EDITS), seed=3)
    rows = work_in(tmp_path / "all")(plan)
    assert set(rows["status"].to_pylist()) == {"ok"}
    assert 0.2 < min(rows["remaining"].to_pylist()) < max(rows["remaining"].to_pylist()) == 1
    for i in (0, 9, 14, 25):
        work_in(tmp_path / "alone")(plan.slice(i, 1))
    alone = {path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()}
    assert len(alone) == 4
    assert all((tmp_path / "all" / name).read_bytes() == content for name, content in alone.items())
    for uri in rows["copy_uri"].to_pylist():
        assert np.ptp(decode_image((tmp_path / "all" / uri).read_bytes()).pixels) > 20


def test_what_cannot_be_read_has_a_row_with_the_reason(photos, tmp_path):
    (photos / "notes.jpg").write_text("no picture")
    plan = plan_copies(sample_of(photos, ["china", "gone", "notes"]), names=("turned", "blended"), seed=0)
    rows = work_in(tmp_path)(plan).to_pylist()
    found = {(row["image_id"], row["transformation"]): row["status"] for row in rows}
    assert found[1, "turned"] == found[0, "blended"] == "missing"
    assert found[2, "turned"] == found[1, "blended"].replace("missing", "undecodable") == "undecodable"
    assert found[0, "turned"] == "ok"
    assert set(crashed_plants(plan, "too much")["error"].to_pylist()) == {"too much"}
