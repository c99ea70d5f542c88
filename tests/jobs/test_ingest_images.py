import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pytest
from PIL import Image

from resight.config import SettingError
from resight.context import LossError
from resight.images.inspect import inspect_image
from resight.job import Options
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.store import TableStore
from resight.tables import IMAGES, PREVIEWS, SOURCES
from resight.workspace import Workspace
from tests.faulty_decoder import MARK
from tests.mutations import encoded_photos, mutated_file
from tests.pictures import save_collection, save_photo


@pytest.fixture
def store(request, spark, tmp_path):
    table_format = getattr(request, "param", "parquet")
    return TableStore(Workspace.open((tmp_path / "w").as_uri(), table_format, create=True), spark)


on_both_formats = pytest.mark.parametrize("store", ["delta", "parquet"], indirect=True)


def rows_of(store, *columns):
    table = store.reader.read(IMAGES, columns=["uri", *columns])
    return {row.pop("uri"): row for row in table.to_pylist()}


def test_photos_become_rows_and_a_second_run_reads_nothing(store, tmp_path):
    save_collection(tmp_path / "photos")
    (tmp_path / "photos/broken.jpg").write_bytes(b"not a picture")
    conf = IngestConfig(source=str(tmp_path / "photos"), chunk_size=3)
    assert ingest(store, conf).run.outputs["images"].statuses == {"ok": 6, "undecodable": 1}
    rows = rows_of(store, "status", "width", "format", "image_id")
    assert (rows["china.jpg"]["width"], rows["china.jpg"]["format"]) == (160, "jpeg")
    assert len(store.reader.read(PREVIEWS)) == 6
    again = ingest(store, conf)
    assert (again.state, again.notes) == ("unchanged", {"same": 7})


def count_spark_jobs(spark, name, call):
    spark.sparkContext.setJobGroup(name, name)
    try:
        call()
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(name))


def test_a_small_source_costs_few_spark_jobs(spark, store, tmp_path):
    conf = IngestConfig(source=str(save_collection(tmp_path / "photos", ["china", "flower"])))
    n_first, n_again = (count_spark_jobs(spark, name, lambda: ingest(store, conf)) for name in ("a", "b"))
    assert n_first <= 16
    assert n_again <= 10
    save_photo("rocket", tmp_path / "photos/rocket.jpg")
    assert count_spark_jobs(spark, "c", lambda: ingest(store, conf)) <= 30


@on_both_formats
def test_a_day_of_changes_touches_only_what_changed(store, tmp_path):
    folder = save_collection(tmp_path / "photos")
    conf = IngestConfig(source=str(folder), chunk_size=3)
    ingest(store, conf)
    before = rows_of(store, "image_id", "content_hash", "first_seen")
    save_photo("astronaut", folder / "sub/new.png")
    save_photo("rocket", folder / "china.jpg", side=120)
    (folder / "flower.jpg").unlink()
    outcome = ingest(store, conf, Options(accept_loss=True))
    assert outcome.notes["chunks"] == {"computed": 1}
    after = rows_of(store, "image_id", "content_hash", "first_seen", "removed_at")
    assert after["china.jpg"]["image_id"] == before["china.jpg"]["image_id"]
    assert after["china.jpg"]["content_hash"] != before["china.jpg"]["content_hash"]
    assert after["flower.jpg"]["removed_at"] is not None
    assert after["coffee.jpg"]["first_seen"] == before["coffee.jpg"]["first_seen"]
    assert sorted(after) == sorted([*before, "sub/new.png"])


def test_bytes_that_alter_in_silence_are_counted_by_a_full_check(store, tmp_path):
    save_collection(tmp_path / "photos")
    conf = IngestConfig(source=str(tmp_path / "photos"))
    ingest(store, conf)
    path = tmp_path / "photos/china.jpg"
    then, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert ingest(store, conf).state == "unchanged"
    checked = ingest(store, IngestConfig(source=conf.source, verify="full")).run
    assert {name: checked.notes[name] for name in ("checked", "altered")} == {"checked": 6, "altered": 1}


def test_no_damaged_file_is_lost(store, tmp_path):
    files, folder = encoded_photos(48), tmp_path / "photos"
    folder.mkdir()
    contents = {f"{i:03}.jpg": mutated_file(files, 5, i) for i in range(400)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    outcome = ingest(store, IngestConfig(source=str(folder), chunk_size=100))
    found = {name: row["status"] for name, row in rows_of(store, "status").items()}
    assert found == {name: inspect_image(content).status for name, content in contents.items()}
    assert outcome.run.outputs["images"].statuses == Counter(found.values())
    assert min(Counter(found.values())[status] for status in ("ok", "undecodable")) > 20
    assert len(store.reader.read(PREVIEWS)) == Counter(found.values())["ok"]


def test_a_run_that_would_lose_too_much_commits_nothing(store, tmp_path):
    folder = save_collection(tmp_path / "photos")
    ingest(store, IngestConfig(source=str(folder)))
    (folder / "flower.jpg").unlink()
    with pytest.raises(LossError, match=r"1 of 6 \(16\.7%\) removed, more than --max-removed 0\.05 allows"):
        ingest(store, IngestConfig(source=str(folder)), Options(max_bad=1))
    assert rows_of(store, "removed_at")["flower.jpg"]["removed_at"] is None
    shutil.rmtree(folder)
    with pytest.raises(SettingError, match="no such file or folder"):
        ingest(store, IngestConfig(source=str(folder)), Options(accept_loss=True))


def test_a_file_that_cannot_be_read_for_a_time_is_tried_again(store, tmp_path):
    folder, away = save_collection(tmp_path / "photos", ["china", "flower"]), tmp_path / "away"
    with (folder / "china.jpg").open("ab") as file:
        file.write(MARK + bytes(away))
    conf = IngestConfig(source=str(folder), decoder="tests.faulty_decoder:decode_in_time")
    away.touch()
    assert ingest(store, conf).run.outputs["images"].statuses == {"ok": 1, "unreadable": 1}
    again = ingest(store, conf)
    assert (again.state, again.notes["retried"]) == ("unchanged", 1)
    away.unlink()
    assert ingest(store, conf).run.outputs["images"].statuses == {"ok": 2}
    os.utime(folder / "china.jpg", (1, 1))
    away.touch()
    with pytest.raises(LossError, match=r"1 of 2 \(50\.0%\) bad, more than --max-bad 0\.05 allows"):
        ingest(store, conf, Options(max_removed=1))
    away.unlink()
    assert ingest(store, conf).run.outputs["images"].statuses == {"ok": 2}, "a failure is not remembered"


def test_a_place_is_one_source_however_it_is_spelled(store, tmp_path, caplog):
    folder = save_collection(tmp_path / "photos", ["china", "flower"])
    save_photo("rocket", folder / "sub/rocket.jpg")
    (tmp_path / "link").symlink_to(folder)
    ingest(store, IngestConfig(source=str(folder)))
    again = ingest(store, IngestConfig(source=str(tmp_path / "link")))
    assert (again.state, again.notes) == ("unchanged", {"same": 3})
    with pytest.raises(SettingError, match="lie one in the other"):
        ingest(store, IngestConfig(source=str(tmp_path / "link/sub")))
    outcome = ingest(store, IngestConfig(source=str(folder / "*.jpg")))
    assert outcome.notes["overlaps"] == [str(folder)]
    assert f"files can be there twice, also from {folder}" in caplog.text
    ingest(store, IngestConfig(source=str(folder / "sub"), source_id="twice"))
    assert store.reader.read(IMAGES).num_rows == 6


def test_sources_of_every_kind_share_a_workspace(store, tmp_path):
    folder = save_collection(tmp_path / "a", ["china", "flower"])
    with tarfile.open(tmp_path / "shard-0.tar", "w") as shard:
        shard.add(folder / "china.jpg", "0001.jpg")
    (tmp_path / "list.csv").write_text("uri,artist\na/flower.jpg,nobody\na/absent.jpg,me\n../out.jpg,x\n")
    for source in ("a", "shard-0.tar", "list.csv"):
        ingest(store, IngestConfig(source=str(tmp_path / source)))
    rows = store.reader.read(IMAGES, columns=["uri", "image_id", "content_hash", "status", "extra"])
    statuses = dict(zip(rows["uri"].to_pylist(), rows["status"].to_pylist(), strict=True))
    assert statuses["a/absent.jpg"] == "missing"
    assert statuses["../out.jpg"] == "outside_source"
    assert statuses["shard-0.tar/0001.jpg"] == "ok"
    assert pc.count_distinct(rows["image_id"]).as_py() == len(rows) == 6
    by_uri = dict(zip(rows["uri"].to_pylist(), rows["content_hash"].to_pylist(), strict=True))
    assert by_uri["china.jpg"] == by_uri["shard-0.tar/0001.jpg"]
    assert len(store.reader.read(SOURCES)) == 3


def test_members_behind_the_damage_of_a_shard_are_not_removed(store, tmp_path):
    folder, path = save_collection(tmp_path / "photos"), tmp_path / "shards/1.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as shard:
        for photo in sorted(folder.iterdir()):
            shard.add(photo, photo.name)
    with tarfile.open(path) as shard:
        third = shard.getmembers()[2]
    whole, conf = path.read_bytes(), IngestConfig(source=str(path.parent))
    ingest(store, conf)
    path.write_bytes(whole[: third.offset_data + 9])
    outcome = ingest(store, conf, Options(max_bad=0.2))
    assert outcome.notes["hidden"] == 3
    assert outcome.run.outputs["images"].statuses == {"ok": 5, "unreadable": 1}
    assert {row["removed_at"] for row in rows_of(store, "removed_at").values()} == {None}
    assert ingest(store, conf).state == "unchanged"
    path.write_bytes(whole)
    assert ingest(store, conf).run.outputs["images"].statuses == {"ok": 6}


def test_a_manifest_of_files_that_all_lie_elsewhere_is_an_error_that_names_the_root(store, tmp_path):
    folder = save_collection(tmp_path / "photos", ["china", "flower"])
    manifest = tmp_path / "lists/all.csv"
    manifest.parent.mkdir()
    manifest.write_text(f"uri\n{folder / 'flower.jpg'}\n../photos/china.jpg\n")
    with pytest.raises(
        SettingError, match=r"--root: every uri of .*all\.csv leads out of .*lists, such as '\.\./"
    ):
        ingest(store, IngestConfig(source=str(manifest)))
    assert store.workspace.runs() == []
    assert not (tmp_path / "w/tables").exists()
    manifest.write_text("uri\nflower.jpg\n../photos/china.jpg\n")
    ingest(store, IngestConfig(source=str(manifest), root=str(folder)))
    statuses = {uri: row["status"] for uri, row in rows_of(store, "status").items()}
    assert statuses == {"flower.jpg": "ok", "../photos/china.jpg": "outside_source"}


@on_both_formats
def test_lost_previews_are_made_again_and_lost_images_are_not_passed_over(store, tmp_path):
    for name in ("a", "b"):
        save_collection(tmp_path / name, ["china", "flower"])
        ingest(store, IngestConfig(source=str(tmp_path / name)))
    for table in (PREVIEWS, IMAGES):
        run = store.workspace.find_build(IMAGES)
        found = store.workspace.list_files(table, run.build_id, run.outputs[table.name].version)
        next(iter(map(Path, found))).unlink()
        if table is IMAGES:
            with pytest.raises(LossError, match="files of images are gone"):
                ingest(store, IngestConfig(source=str(tmp_path / "b")))
        else:
            ingest(store, IngestConfig(source=str(tmp_path / "b")))
            assert len(store.reader.read(IMAGES)) == 4
            assert len(store.reader.read(PREVIEWS)) == 2


def test_images_that_kill_the_decoder_cost_only_their_own_status(spark, tmp_path):
    folder = save_collection(tmp_path / "photos", ["china", "flower", "rocket"])
    Image.new("RGB", (64, 64), (255, 0, 0)).save(folder / "red.png")
    Image.new("RGB", (64, 64), (0, 255, 0)).save(folder / "green.png")
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    conf = IngestConfig(
        source=str(folder), decoder="tests.faulty_decoder:decode", chunk_size=9, max_memory_mb=1024
    )
    ingest(store, conf)
    rows = rows_of(store, "status", "error")
    crashed = {uri: row["error"] for uri, row in rows.items() if row["status"] == "crashed"}
    assert crashed == {"red.png": "killed by SIGSEGV", "green.png": "not enough memory"}
    assert sum(row["status"] == "ok" for row in rows.values()) == 3


def test_a_decoder_that_does_not_exist_is_named(store, tmp_path):
    folder = save_collection(tmp_path / "photos", ["china"])
    with pytest.raises(SettingError, match=r"--decoder: cannot import .no\.such:thing"):
        ingest(store, IngestConfig(source=str(folder), decoder="no.such:thing"))
