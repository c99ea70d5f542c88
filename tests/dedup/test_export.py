import csv
import json

import pyarrow as pa
import pytest

from resight.dedup.export import REMOVABLE, write_list

ROW = {
    "uri": "a.jpg",
    "image_id": 2**62 + 1,
    "group_id": 3,
    "kept_uri": "b.jpg",
    "relation": "near",
    "similarity": 0.9,
    "reason": "larger: 2x2 over 1x1",
    "n_bytes": 12,
}


def export(folder, *changes):
    table = pa.Table.from_pylist([ROW | change for change in changes], REMOVABLE)
    files = [folder / "gone.csv", folder / "gone.jsonl"]
    assert write_list(table.to_batches(max_chunksize=2), files) == len(changes)
    with files[0].open(encoding="utf-8", newline="") as stream:
        cells = list(csv.DictReader(stream))
    return cells, [json.loads(line) for line in files[1].read_text("utf-8").splitlines()]


@pytest.mark.parametrize("uri", ["=cmd()", "+1", "-rf", "@eaDir/x", "\tx", "\rx", "\nx", "\uff1dx", " =x"])
def test_a_uri_that_would_be_a_formula_names_the_same_file_in_csv(tmp_path, uri):
    cells, objects = export(tmp_path, {"uri": uri})
    assert cells[0]["uri"] == "./" + uri
    assert objects[0]["uri"] == uri


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
        write_list(wrong, [tmp_path / "gone.csv"])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.csv or \.jsonl"):
        write_list([], [tmp_path / "gone.csv", tmp_path / "gone.xlsx"])
    assert not list(tmp_path.iterdir())
