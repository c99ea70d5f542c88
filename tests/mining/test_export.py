"""Exports, read by what would read them: csv, pickle, tarfile."""

import csv
import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from resight.mining.export import export_pairs, write_shards
from tests.mining.exported import PAIRS, commit_photos


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    committed = commit_photos(folder)
    return folder / "out", export_pairs(committed.reader, folder / "out"), committed.reader


def test_csv_has_a_row_for_each_negative(exported):
    folder, written, _ = exported
    rows = list(csv.DictReader(io.StringIO((folder / "tuples.csv").read_text())))
    assert written["csv_rows"] == len(rows) == sum(len(pair[2]) for pair in PAIRS)
    found = [(int(row["anchor"]), int(row["positive"]), int(row["negative"]), row["split"]) for row in rows]
    assert found == [(a, p, n, split) for a, p, negatives, split in PAIRS for n in negatives]
    assert rows[0]["negative_path"].endswith("/p 14.png")
    assert float(rows[0]["positive_score"]) == 0.25


def test_the_training_set_of_cirtorch_names_images_pairs_and_clusters(exported):
    folder, written, _ = exported
    root = folder / "train" / "retrieval-SfM-resight"
    sets = pickle.loads((root / "retrieval-SfM-resight.pkl").read_bytes())
    assert set(sets) == {"train", "val"}
    train = sets["train"]
    pairs = [
        tuple(int(train["cids"][i], 16) for i in pair)
        for pair in zip(train["qidxs"], train["pidxs"], strict=True)
    ]
    assert pairs == [pair[:2] for pair in PAIRS if pair[3] == "train"]
    cluster = {int(cid, 16): c for cid, c in zip(train["cids"], train["cluster"], strict=True)}
    assert cluster[10] == cluster[11] == cluster[12] == cluster[13]
    assert len({cluster[10], cluster[14], cluster[15]}) == 3
    assert written["cirtorch_links"] == 10
    for cid in train["cids"] + sets["val"]["cids"]:  # as cirtorch's cid2filename cuts a name
        file = root / "ims" / cid[-2:] / cid[-4:-2] / cid[-6:-4] / cid
        assert np.asarray(Image.open(file))[0, 0, 0] == int(cid, 16) * 10


def read_shard(file):
    samples = {}
    with tarfile.open(file) as archive:
        for member in archive:
            key, _, name = member.name.partition(".")
            samples.setdefault(key, {})[name] = archive.extractfile(member).read()
    return samples


def test_shards_hold_the_images_of_every_pair(exported):
    folder, written, reader = exported
    assert (written["samples_train"], written["samples_validation"], written["shards_train"]) == (3, 1, 1)
    samples = read_shard(folder / "shards" / "train-000000.tar")
    assert sorted(samples) == [f"{i:09d}" for i in range(3)]
    first = samples["000000000"]
    assert set(first) == {"anchor.png", "positive.png", "negative0.png", "negative1.png", "json"}
    ids = json.loads(first["json"])["images"]
    assert ids == {"anchor": "10", "positive": "11", "negative0": "14", "negative1": "15"}
    for role, image_id in ids.items():
        red = np.asarray(Image.open(io.BytesIO(first[f"{role}.png"])))[0, 0, 0]
        assert red == int(image_id) * 10
    again = folder / "again"
    write_shards(reader, again, "train")
    assert (again / "train-000000.tar").read_bytes() == (folder / "shards" / "train-000000.tar").read_bytes()


def test_a_pair_whose_image_is_gone_is_left_out_and_counted(tmp_path):
    committed = commit_photos(tmp_path, gone=(14,))
    assert write_shards(committed.reader, tmp_path / "s", "train") == {
        "shards": 1,
        "samples": 1,
        "unreadable": 2,
    }
    assert len(read_shard(tmp_path / "s" / "train-000000.tar")) == 1
