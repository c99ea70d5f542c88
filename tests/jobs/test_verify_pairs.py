"""The job that verifies pairs, on photos whose views are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from resight.config import SettingError
from resight.context import LossError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as describe
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.jobs.extract_local_features import main as extract
from resight.jobs.fit_model import FitConfig
from resight.jobs.fit_model import main as fit
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.verify_pairs import VerifyConfig
from resight.jobs.verify_pairs import main as verify
from resight.store import TableStore
from resight.tables import IMAGES, VERIFIED_PAIRS
from resight.workspace import Workspace
from tests.verification.scenes import apply, draw_scene, turn, warp_scene

VIEW = turn(20, 0.9, (40, -10))
CORNERS = np.array([[0, 0], [200, 0], [200, 160], [0, 160.0]])


def save_photos(folder, *, seed=1):
    folder.mkdir(exist_ok=True)
    scene = draw_scene(seed, width=200, height=160)
    photos = {"a": scene, "b": warp_scene(scene, VIEW, (200, 160)), "c": draw_scene(9, width=200, height=160)}
    for name, pixels in photos.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels[:, :, ::-1])
    (folder / "d.png").write_bytes(b"no picture")
    return str(folder)


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=save_photos(folder / "photos")))
    extract(store, ExtractLocalConfig(max_keypoints=200, min_side=0, only=("uri=a.png",)))
    return store


def write_list(folder, *pairs):
    file = folder / "pairs.csv"
    file.write_text("uri_a,uri_b\n" + "".join(f"{a}.png,{b}.png\n" for a, b in pairs))
    return str(file)


def read_rows(store):
    uris = dict(
        zip(*(store.reader.read(IMAGES)[name].to_pylist() for name in ("image_id", "uri")), strict=True)
    )
    rows = {}
    for row in store.reader.read(VERIFIED_PAIRS).to_pylist():
        assert row["image_a"] < row["image_b"]
        rows["".join(uris[row[f"image_{end}"]][0] for end in "ab")] = row
    return rows


def transform_of(row, pair, name):
    H = np.frombuffer(row["transform"]).reshape(3, 3)
    return H if name == pair else np.linalg.inv(H)


def test_pairs_of_a_file_are_verified_kept_and_renewed(store, tmp_path):
    file = write_list(tmp_path, "ab", "ca", "da", "ba")
    conf = VerifyConfig(candidates="file", pairs=file, agreement=True)
    outcome = verify(store, conf)
    assert outcome.run.notes["verified"] == 2  # ab, twice in the file, and ac; d has no pixels
    assert outcome.run.notes["described"] == 2  # of three images, one is stored
    rows = {"".join(sorted(pair)): (pair, row) for pair, row in read_rows(store).items()}
    assert set(rows) == {"ab", "ac", "ad"}
    pair, row = rows["ab"]
    np.testing.assert_allclose(apply(transform_of(row, pair, "ab"), CORNERS), apply(VIEW, CORNERS), atol=3)
    assert (row["status"], row["n_inliers"] > 30, row["agreement"] > 0.9) == ("ok", True, True)
    assert (rows["ac"][1]["status"], rows["ac"][1]["n_inliers"] < 8) == ("ok", True)
    assert rows["ad"][1]["status"] == "missing"
    assert verify(store, conf).state == "unchanged"

    file = write_list(tmp_path, "ab", "cb", "da")
    outcome = verify(store, conf)
    assert outcome.run.notes == {"verified": 1, "kept": 1, "described": outcome.run.notes["described"]}
    after = {"".join(sorted(pair)): row for pair, row in read_rows(store).items()}
    assert set(after) == {"ab", "bc", "ad"}
    assert after["ab"] == row


def test_matches_inside_a_visual_word(store, tmp_path):
    fit(store, FitConfig(kind="codebook", words=8, points_per_word=3, iterations=2), Options(name="eight"))
    file = write_list(tmp_path, "ab", "ac")
    verify(store, VerifyConfig(candidates="file", pairs=file, words="eight"), Options(name="words"))
    by_words = {"".join(sorted(pair)): row for pair, row in read_rows(store).items()}
    verify(store, VerifyConfig(candidates="file", pairs=file))
    by_ratio = {"".join(sorted(pair)): row for pair, row in read_rows(store).items()}
    assert by_words["ab"]["n_inliers"] > 15
    assert by_words["ab"]["n_matches"] != by_ratio["ab"]["n_matches"]
    assert by_words["ac"]["n_inliers"] < 8
    with pytest.raises(SettingError, match="no build of 'models' is called 'nine'"):
        verify(store, VerifyConfig(candidates="file", pairs=file, words="nine"))


def test_an_altered_photo_is_verified_again(store, tmp_path):
    conf = VerifyConfig(candidates="file", pairs=write_list(tmp_path, "ab", "bc"))
    verify(store, conf)
    before = {"".join(sorted(pair)): row for pair, row in read_rows(store).items()}
    folder = store.reader.read(IMAGES)  # the source's folder is beside the workspace
    assert len(folder) == 4
    root = tmp_path_of(store)
    changed = warp_scene(draw_scene(1, width=200, height=160), turn(0, 1, (9, 4)), (200, 160))
    cv2.imwrite(f"{root}/a.png", changed[:, :, ::-1])
    ingest(store, IngestConfig(source=root))
    assert verify(store, conf).run.notes["verified"] == 1
    after = {"".join(sorted(pair)): row for pair, row in read_rows(store).items()}
    assert after["bc"] == before["bc"]
    assert after["ab"]["contents"] != before["ab"]["contents"]
    assert after["ab"]["transform"] != before["ab"]["transform"]


def tmp_path_of(store):
    return store.workspace.root.rsplit("/", 1)[0] + "/photos"


def test_settings_and_files_that_cannot_work_are_refused(store, tmp_path):
    with pytest.raises(SettingError, match="pairs: a file belongs"):
        VerifyConfig.from_mapping({"candidates": "file"})
    with pytest.raises(SettingError, match="no such file"):
        VerifyConfig(candidates="file", pairs=str(tmp_path / "none.csv")).check()
    file = write_list(tmp_path, "ab", ("a", "unknown"))
    with pytest.raises(SettingError, match="1 rows name no image"):
        verify(store, VerifyConfig(candidates="file", pairs=file))
    with pytest.raises(SettingError, match="build-graph"):
        verify(store, VerifyConfig())


def test_pairs_of_a_graph_are_those_of_its_best_neighbours(store):
    describe(store, ExtractConfig(extractor="colour"))
    build_graph(store, GraphConfig(k=2))
    outcome = verify(store, VerifyConfig(candidates="neighbors", top=1))
    rows = {"".join(sorted(pair)): row for pair, row in read_rows(store).items()}
    assert outcome.notes["verified"] == len(rows) == 2  # each of three photos has one best neighbour
    assert "ab" in rows
    assert rows["ab"]["n_inliers"] > 30
    assert verify(store, VerifyConfig(candidates="neighbors", top=2)).notes["verified"] == 3


def test_more_unreadable_images_than_allowed_change_nothing(store, tmp_path):
    conf = VerifyConfig(candidates="file", pairs=write_list(tmp_path, "ac", "bc"), tolerance=7.0)
    root = tmp_path_of(store)
    for name in "abc":
        (Path(root) / f"{name}.png").rename(tmp_path / f"{name}.png")
    with pytest.raises(LossError, match=r"images to verify: [23] of 3"):
        verify(store, conf)
    for name in "abc":
        (tmp_path / f"{name}.png").rename(Path(root) / f"{name}.png")
    assert verify(store, conf).notes["verified"] == 2
