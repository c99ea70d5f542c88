"""Listing, comparing and naming on Spark: against the local walk, and through a collection's life."""

import hashlib
import os
import random
from operator import methodcaller

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight.config import SettingError
from resight.images.listing import LISTING, Selector, walk_files
from resight.images.sources import parse_source, require_listed
from resight.images.spark import assign_image_ids, compare_listing, list_source, read_manifest
from resight.tables import IMAGES
from tests.images.test_sources import ODD, put
from tests.images.test_tar import make_tar

PARTITIONS = [1, 3, 50]


def rows_of(frame):
    return sorted(frame.toArrow().to_pylist(), key=lambda row: row["uri"])


def statuses(frame):
    return {row["uri"]: row["status"] for row in frame.collect()}


@pytest.mark.parametrize("partitions", PARTITIONS)
def test_distributed_listing_equals_local_listing(spark, tmp_path, partitions):
    root = put(tmp_path / "ph [2019] %20 #", *ODD, *(f"{a}/{b}/1.jpg" for a in "xyz" for b in "pqr"))
    (root / "out.jpg").symlink_to("/etc/hostname")
    source = parse_source(str(root))
    frame = list_source(spark, source, partitions=partitions)
    assert frame.schema == from_arrow_schema(LISTING)
    local = sorted(walk_files(str(root), Selector()))
    listed = [(r["uri"], r["n_bytes"], r["status"], r["error"]) for r in rows_of(frame)]
    assert listed == [(e.uri, e.n_bytes, e.status, e.error) for e in local]
    times = {r["uri"]: r["modified_at"] for r in rows_of(frame)}
    assert times["a b.jpg"].timestamp() == pytest.approx((root / "a b.jpg").stat().st_mtime, abs=1e-5)


def test_a_glob_lists_what_it_names(spark, tmp_path):
    put(tmp_path, "d1/a.jpg", "d1/e/b.jpg", "d2/c.jpg", "x/d.jpg")
    frame = list_source(spark, parse_source(f"{tmp_path}/d?/*.jpg"))
    assert set(statuses(frame)) == {"d1/a.jpg", "d2/c.jpg"}


@pytest.mark.parametrize("partitions", PARTITIONS)
def test_tar_shards_are_listed_by_their_members(spark, tmp_path, partitions):
    for n in range(3):
        members = [(f"{n}{i}.{e}", bytes(i)) for i in range(4) for e in ("jpg", "json")]
        put(tmp_path, f"sub/{n}.tar", data=make_tar(members))
    put(tmp_path, "cut.tar", data=make_tar([("a.jpg", bytes(900))])[:700])
    frame = list_source(spark, parse_source(str(tmp_path), "tar"), partitions=partitions)
    expected = {f"sub/{n}.tar/{n}{i}.jpg": None for n in range(3) for i in range(4)}
    assert statuses(frame) == expected | {"cut.tar/a.jpg": "unreadable"}
    assert all(row["byte_offset"] % 512 == 0 for row in frame.collect())


MANIFEST = [
    ("a.jpg", 'old town, "gate"', "1"),
    ("gone.jpg", "line one\nline two", None),
    ("../secret.jpg", "x", "2"),
    ("./sub//b c.jpg", "ü", "3"),
    ("a.jpg", "a second time", "4"),
    (None, "no name", "5"),
    ("sub", "a folder", "6"),
]


def write_manifest(path):
    columns = {
        "label": [r[1] for r in MANIFEST],
        "URI": [r[0] for r in MANIFEST],
        "n.x": [r[2] for r in MANIFEST],
    }
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path, row_group_size=2)
        return

    def cell(text):
        return "" if text is None else '"' + text.replace('"', '""') + '"'

    lines = [",".join(columns)] + [",".join(map(cell, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", ["m [1] %20.csv", "m [1] %20.parquet"])
@pytest.mark.parametrize("partitions", [1, 5])
def test_a_manifest_keeps_its_columns_and_judges_its_rows(spark, tmp_path, name, partitions):
    put(tmp_path, "a.jpg", "sub/b c.jpg", data=b"123")
    write_manifest(tmp_path / name)
    source = parse_source(str(tmp_path / name))
    rows = {r["uri"]: r for r in list_source(spark, source, partitions=partitions).collect()}
    assert {uri: row["status"] for uri, row in rows.items()} == {
        "a.jpg": None,
        "sub/b c.jpg": None,
        "gone.jpg": "missing",
        "../secret.jpg": "outside_source",
        "": "missing",
        "sub": "missing",
    }
    assert rows["a.jpg"]["n_bytes"] == 3
    assert rows["a.jpg"]["error"] == "the first of 2 rows of the manifest"
    assert rows["a.jpg"]["extra"] == {"label": 'old town, "gate"', "n.x": "1"}
    assert rows["gone.jpg"]["extra"] == {"label": "line one\nline two"}


def test_a_manifest_has_a_root_of_its_own(spark, tmp_path):
    put(tmp_path, "photos/a.jpg")
    pq.write_table(pa.table({"uri": ["a.jpg"], "tags": [["x", "y"]], "n": [7]}), tmp_path / "m.parquet")
    source = parse_source(str(tmp_path / "m.parquet"), root=f"{tmp_path}/photos")
    assert statuses(list_source(spark, source)) == {"a.jpg": None}
    assert read_manifest(spark, source.path).collect()[0]["extra"] == {"tags": '["x","y"]', "n": "7"}


def test_a_manifest_without_uris_is_a_setting_error(spark, tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.jpg,1\n")
    with pytest.raises(SettingError, match="no column uri, but path, label"):
        list_source(spark, parse_source(str(tmp_path / "m.csv")))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("m.parquet", b"no parquet", "as Parquet"),
        ("m.csv", b"uri,caf\xe9\na,b\n", "cannot read the manifest"),
        ("m.csv", b"uri,x,X\na,b,c\n", "two columns x"),
        ("m.csv", b"", "no column uri"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_a_setting_error(spark, tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SettingError, match=words):
        list_source(spark, parse_source(str(tmp_path / name)))


def test_a_listing_without_images_says_what_to_do(spark, tmp_path):
    source = parse_source(str(put(tmp_path, "a.txt")))
    with pytest.raises(SettingError, match="lists no image"):
        require_listed(list_source(spark, source).count(), source)
    require_listed(list_source(spark, source, extensions=["*"]).count(), source)


def keep_images(spark, listing, source_id, ids, removed=()):
    """Rows of ``images`` as ingest would have written them for ``listing``."""
    rows = []
    for row in listing.toArrow().to_pylist():
        known = row | {"image_id": ids[row["uri"]], "source_id": source_id}
        known["removed_at"] = row["modified_at"] if row["uri"] in removed else None
        rows.append({name: known.get(name) for name in IMAGES.schema.names})
    return spark.createDataFrame(pa.Table.from_pylist(rows, IMAGES.schema))


def test_every_change_of_a_folder_is_noticed(spark, tmp_path):
    names = ["same.jpg", "grown.jpg", "touched.jpg", "deleted.jpg", "back.jpg"]
    source = parse_source(str(put(tmp_path, *names)))
    ids = {name: n for n, name in enumerate(names)}
    before = list_source(spark, source)
    images = keep_images(spark, before, source.source_id, ids, removed=["back.jpg"])
    other = images.withColumn("source_id", sf.lit("other"))
    put(tmp_path, "new.jpg")
    put(tmp_path, "grown.jpg", data=b"longer")
    os.utime(tmp_path / "touched.jpg", (1, 1))
    (tmp_path / "deleted.jpg").unlink()
    after = list_source(spark, source)
    for verify, same in [("changed", "same"), ("full", "checked")]:
        rows = compare_listing(after, images.union(other), source.source_id, verify=verify).collect()
        assert {r["uri"]: (r["change"], r["image_id"]) for r in rows} == {
            "new.jpg": ("new", None),
            "same.jpg": (same, 0),
            "grown.jpg": ("changed", 1),
            "touched.jpg": ("changed", 2),
            "deleted.jpg": ("removed", 3),
            "back.jpg": ("returned", 4),
        }


def test_a_file_that_could_not_be_read_is_tried_again(spark, tmp_path):
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    (tmp_path / "m.csv").write_text("uri\na.jpg\nb.jpg\nc.jpg\nd.jpg\ngone.jpg\n")
    source = parse_source(str(tmp_path / "m.csv"))
    listing = list_source(spark, source)
    ids = {"a.jpg": 1, "b.jpg": 2, "c.jpg": 3, "d.jpg": 4, "gone.jpg": 5}
    images = keep_images(spark, listing, source.source_id, ids)
    before = {"a.jpg": "unreadable", "b.jpg": "missing", "c.jpg": "crashed", "d.jpg": "ok"}
    states = spark.createDataFrame(list(before.items()), "uri string, was string")
    images = images.join(states, "uri", "left").withColumn("status", sf.coalesce("was", "status")).drop("was")
    changes = dict.fromkeys(["a.jpg", "b.jpg"], "retried") | dict.fromkeys(
        ["c.jpg", "d.jpg", "gone.jpg"], "same"
    )
    for verify, expected in [("changed", changes), ("full", dict.fromkeys(ids, "checked"))]:
        rows = compare_listing(listing, images, source.source_id, verify=verify).collect()
        assert {r["uri"]: r["change"] for r in rows} == expected


def test_what_was_removed_before_stays_silent(spark, tmp_path):
    source = parse_source(str(put(tmp_path, "a.jpg", "b.jpg")))
    images = keep_images(
        spark, list_source(spark, source), source.source_id, {"a.jpg": 1, "b.jpg": 2}, ["b.jpg"]
    )
    (tmp_path / "b.jpg").unlink()
    rows = compare_listing(list_source(spark, source), images, source.source_id).collect()
    assert [(r["uri"], r["change"]) for r in rows] == [("a.jpg", "same")]


def test_other_words_in_the_manifest_are_noticed(spark, tmp_path):
    put(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "m.csv").write_text("uri,label,x\na.jpg,one,1\nb.jpg,two,2\ngone.jpg,three,3\n")
    source = parse_source(str(tmp_path / "m.csv"))
    images = keep_images(
        spark, list_source(spark, source), source.source_id, {"a.jpg": 1, "b.jpg": 2, "gone.jpg": 3}
    )
    (tmp_path / "m.csv").write_text("x,uri,label\n1,a.jpg,one\n2,b.jpg,other\n3,gone.jpg,three\n")
    rows = compare_listing(list_source(spark, source), images, source.source_id).collect()
    assert {r["uri"]: r["extra_differs"] for r in rows} == {"a.jpg": False, "b.jpg": True, "gone.jpg": False}
    assert {r["change"] for r in rows} == {"same"}


def name_rows(rows, taken, bits):
    """Ids of (source_id, uri) rows by the definition, attempt by attempt."""
    ids, used, pending, attempt = {}, set(taken), set(rows), 0
    while pending:
        tried = {}
        for source_id, uri in sorted(pending):
            text = f"{source_id}\0{uri}" + (f"\0{attempt}" if attempt else "")
            number = int(hashlib.sha256(text.encode()).hexdigest(), 16) >> (256 - bits)
            if number not in used:
                tried.setdefault(number, (source_id, uri))
        ids |= {row: number for number, row in tried.items()}
        used |= set(tried)
        pending -= set(tried.values())
        attempt += 1
    return ids


@pytest.mark.parametrize(("bits", "n_rows", "n_taken"), [(63, 40, 3), (6, 16, 5)])
@pytest.mark.parametrize(("partitions", "hold"), [(1, None), (4, methodcaller("localCheckpoint"))])
def test_ids_are_those_of_the_definition(spark, bits, n_rows, n_taken, partitions, hold):
    rows = [(s, f"ü {n}.jpg") for s in ("s1", "s2") for n in range(n_rows // 2)]
    taken = [5 * n for n in range(n_taken)]
    random.Random(partitions).shuffle(rows)
    new = spark.createDataFrame([(*r, 1) for r in rows], "source_id string, uri string, kept int")
    used = spark.createDataFrame([(t,) for t in taken], "image_id long")
    frame = assign_image_ids(new.repartition(partitions), used, bits=bits, hold=hold)
    assigned = [(r["source_id"], r["uri"], r["image_id"]) for r in frame.collect()]
    assert {(s, u): i for s, u, i in assigned} == name_rows(rows, taken, bits)
    assert len({i for *_, i in assigned} | set(taken)) == n_rows + n_taken


def test_ids_run_out_with_an_error(spark):
    new = spark.createDataFrame([("s", "a"), ("s", "b"), ("s", "c")], "source_id string, uri string")
    with pytest.raises(ValueError, match="no free id of 1 bits"):
        assign_image_ids(new, spark.createDataFrame([], "image_id long"), bits=1, max_attempts=3)
