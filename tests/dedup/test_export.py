import csv
import json

import pyarrow as pa
import pytest

from resight.dedup.export import EXPORTED, write_list
from resight.jobs.find_duplicates import locate_images
from resight.store import spark_schema
from resight.tables import IMAGES, SOURCES

ROW = {
    "uri": "a.jpg",
    "image_id": 2**62 + 1,
    "group_id": 3,
    "kept_uri": "b.jpg",
    "relation": "near",
    "similarity": 0.9,
    "reason": "larger: 2x2 over 1x1",
    "n_bytes": 12,
    "archive": None,
    "member": None,
}


def export(folder, *changes):
    table = pa.Table.from_pylist([ROW | change for change in changes], EXPORTED)
    files = [folder / "gone.csv", folder / "gone.jsonl", folder / "gone.json"]
    assert write_list(table.to_batches(max_chunksize=2), files) == len(changes)
    with files[0].open(encoding="utf-8", newline="") as stream:
        cells = list(csv.DictReader(stream))
    objects = json.loads(files[2].read_text("utf-8"))
    assert objects == [json.loads(line) for line in files[1].read_text("utf-8").splitlines()]
    return cells, objects


@pytest.mark.parametrize("uri", ["=cmd()", "+1", "-rf", "@eaDir/x", "\tx", "\rx", "\nx", "\uff1dx", " =x"])
def test_a_uri_that_would_be_a_formula_names_the_same_file_in_csv(tmp_path, uri):
    cells, objects = export(tmp_path, {"uri": uri})
    assert cells[0]["uri"] == "./" + uri
    assert objects[0]["uri"] == uri


def test_a_member_of_a_tar_is_named_by_archive_and_member(tmp_path):
    member = {"uri": "/d/s.tar/=1.jpg", "archive": "/d/s.tar", "member": "=1.jpg"}
    cells, objects = export(tmp_path, member, {})
    assert (cells[0]["archive"], cells[0]["member"]) == ("/d/s.tar", "'=1.jpg")
    assert objects[0] == {**ROW, **member, "image_id": str(ROW["image_id"]), "group_id": "3"}
    assert (cells[1]["archive"], objects[1]["archive"]) == ("", None)


def test_images_are_located_below_the_root_of_their_source(spark):
    images = pa.Table.from_pylist(
        [
            {"source_id": "f", "uri": "sub/a.tar/b.jpg", "byte_offset": None},
            {"source_id": "t", "uri": "x/S.TAR/two\nlines.tar/b.jpg", "byte_offset": 512},
            {"source_id": "v", "uri": "item 7", "byte_offset": None},
        ],
        IMAGES.schema,
    )
    places = {"f": ("/", "folder"), "t": ("/d", "tar"), "v": ("/d/v.npy", "vectors")}
    rows = [(key, root, kind, root) for key, (root, kind) in places.items()]
    located = locate_images(spark.createDataFrame(images), spark.createDataFrame(rows, spark_schema(SOURCES)))
    found = {r["source_id"]: (r["uri"], r["archive"], r["member"]) for r in located.collect()}
    assert found == {
        "f": ("/sub/a.tar/b.jpg", None, None),
        "t": ("/d/x/S.TAR/two\nlines.tar/b.jpg", "/d/x/S.TAR", "two\nlines.tar/b.jpg"),
        "v": ("item 7", None, None),
    }


def test_a_reason_that_would_be_a_formula_is_quoted_in_csv(tmp_path):
    assert export(tmp_path, {"reason": "=1+1"})[0][0]["reason"] == "'=1+1"


@pytest.mark.parametrize("uri", ['say "hi", you.jpg', "two\nlines.jpg", "ünï/\u2028.jpg", "a;b,c"])
def test_any_name_survives_both_formats(tmp_path, uri):
    cells, objects = export(tmp_path, {"uri": uri}, {}, {})
    assert cells[0]["uri"] == objects[0]["uri"] == uri
    assert len(cells) == len(objects) == 3


def test_ids_are_exact_and_a_missing_similarity_is_empty(tmp_path):
    cells, objects = export(tmp_path, {"similarity": float("nan")}, {})
    assert objects[0] | {"similarity": 0.9} == objects[1]
    assert cells[0]["image_id"] == objects[0]["image_id"] == str(2**62 + 1)
    assert (cells[0]["similarity"], cells[1]["similarity"]) == ("", "0.9")


def test_an_empty_list_is_a_header_and_no_line(tmp_path):
    assert export(tmp_path) == ([], [])
    assert (tmp_path / "gone.csv").read_text("utf-8").count("\n") == 1


def test_a_failure_leaves_the_old_list_and_nothing_else(tmp_path):
    export(tmp_path, {})
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    wrong = pa.table({"uri": ["x"]}).to_batches()
    with pytest.raises(ValueError, match="expected columns"):
        write_list(wrong, [tmp_path / "gone.csv", tmp_path / "gone.json"])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.csv, \.json, \.jsonl"):
        write_list([], [tmp_path / "gone.csv", tmp_path / "gone.xlsx"])
    assert not list(tmp_path.iterdir())
