import csv
import hashlib
import io
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from resight.config import SettingError
from resight.demo.__main__ import main
from resight.demo.collection import object_entries
from resight.demo.photos import DISTRACTORS, OBJECTS
from resight.demo.write import write_collection
from resight.images.decode import DecodeError, decode_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "collection"
    assert main([str(folder)]) == 0
    return folder


def rows(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    """Hash and time of every file, by path."""
    return {
        str(file.relative_to(folder)): (
            hashlib.sha256(file.read_bytes()).hexdigest(),
            file.stat().st_mtime,
        )
        for file in folder.rglob("*")
        if file.is_file()
    }


def pixels(folder, uri):
    with Image.open(io.BytesIO((folder / "photos" / uri).read_bytes())) as picture:
        return np.array(picture.convert("RGB"))


def test_second_generation_gives_the_same_bytes_and_times(folder):
    before = contents(folder)
    (folder / "photos/nature/cat/plain.jpg").write_bytes(b"spoilt")
    (folder / "photos/broken/empty.jpg").unlink()
    write_collection(folder)
    assert contents(folder) == before


def test_another_seed_gives_other_views_of_the_same_photographs():
    one, two = ([*object_entries(OBJECTS[3], seed)] for seed in (0, 1))
    assert [entry.uri for entry in one] == [entry.uri for entry in two]
    assert [a.view for a, b in zip(one, two, strict=True) if a.content == b.content] == ["plain"]


def test_images_csv_lists_exactly_the_files_in_photos(folder):
    files = {str(p.relative_to(folder / "photos")) for p in folder.glob("photos/**/*") if p.is_file()}
    uris = [row["uri"] for row in rows(folder, "images")]
    assert len(uris) == len(set(uris))
    assert set(uris) == files
    assert 380 <= len(uris) <= 440


def test_every_positive_shows_the_object_of_its_query(folder):
    images = {row["uri"]: row for row in rows(folder, "images")}
    positives = Counter()
    for row in rows(folder, "truth"):
        query, image = images[row["query_uri"]], images[row["image_uri"]]
        assert query["object"] == image["object"] != ""
        assert row["family"] == query["family"] != ""
        assert row["label"] == ("junk" if image["copy_of"] == query["uri"] else "positive")
        positives[query["uri"]] += row["label"] == "positive"
    assert len(positives) == 2 * len(OBJECTS)
    assert min(positives.values()) >= 11


def test_every_view_of_a_query_object_is_in_the_truth(folder):
    shown = defaultdict(set)
    for row in rows(folder, "images"):
        shown[row["object"]].add(row["uri"])
    found = defaultdict(set)
    for row in rows(folder, "truth"):
        found[row["query_uri"]].add(row["image_uri"])
    by_uri = {uri: views for views in shown.values() for uri in views}
    assert all(found[query] == by_uri[query] - {query} for query in found)


def test_each_relation_holds_and_no_closer_one(folder):
    for row in rows(folder, "duplicates"):
        a, b = row["uri_a"], row["uri_b"]
        assert a < b
        same_bytes = (folder / "photos" / a).read_bytes() == (folder / "photos" / b).read_bytes()
        same_pixels = np.array_equal(pixels(folder, a), pixels(folder, b))
        expected = "exact" if same_bytes else "same_pixels" if same_pixels else "near"
        assert row["relation"] == expected
    relations = Counter(row["relation"] for row in rows(folder, "duplicates"))
    assert min(relations["exact"], relations["same_pixels"], relations["near"]) >= 10


def test_files_that_are_not_listed_as_copies_have_pixels_of_their_own(folder):
    broken = {row["uri"] for row in rows(folder, "expected_status")}
    listed = {(row["uri_a"], row["uri_b"]) for row in rows(folder, "duplicates")}
    alike = defaultdict(list)
    for row in rows(folder, "images"):
        if row["uri"] not in broken:
            alike[pixels(folder, row["uri"]).tobytes()].append(row["uri"])
    pairs = {pair for uris in alike.values() for pair in combinations(sorted(uris), 2)}
    assert pairs <= listed


def test_decoder_gives_every_file_its_expected_status(folder):
    expected = {row["uri"]: row["status"] for row in rows(folder, "expected_status")}
    statuses = {}
    for row in rows(folder, "images"):
        try:
            decode_image((folder / "photos" / row["uri"]).read_bytes())
        except DecodeError as error:
            statuses[row["uri"]] = error.status
    assert statuses == expected
    assert len(expected) >= 10


def test_parts_of_one_file_that_count_as_different_share_no_pixel():
    parts = defaultdict(list)
    for photo in [*OBJECTS, *(p.second for p in OBJECTS if p.second), *DISTRACTORS]:
        parts[photo.path].append(photo.box)
    for path, boxes in parts.items():
        assert len(boxes) == 1 or None not in boxes, path
        for (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) in combinations(boxes, 2):
            assert ax1 <= bx0 or bx1 <= ax0 or ay1 <= by0 or by1 <= ay0, (path, ax0, bx0)


def test_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "README.txt").write_text("my holidays")
    with pytest.raises(SettingError, match="holds other files"):
        write_collection(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["README.txt"]


def test_command_exits_with_2_where_it_cannot_write(tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path)])
    assert "holds other files" in capsys.readouterr().err
