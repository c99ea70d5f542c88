import hashlib

import cv2
import numpy as np
import pyarrow as pa

from resight.features.local.settings import LocalSettings
from resight.features.local.work import LocalWork
from resight.search.queries.like import SIZED, SizedWork, measure_sides, rescue_sized


def list_photos(folder, rng):
    """A photo and a file that is none, as an extraction takes them."""
    pixels = cv2.resize(rng.integers(0, 255, (12, 20, 3), np.uint8), (200, 120))
    cv2.imwrite(str(folder / "a.png"), pixels)
    (folder / "b.png").write_bytes(b"nothing")
    hashes = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("a.png", "b.png")]
    columns = {"image_id": [1, 2], "content_hash": hashes, "root": [str(folder)] * 2}
    places = {"uri": ["a.png", "b.png"], "byte_offset": pa.nulls(2, pa.int64())}
    return pa.table(columns | places | {"n_bytes": pa.nulls(2, pa.int64())})


def test_keypoints_come_with_the_size_of_their_photo(rng, tmp_path):
    rows, work = list_photos(tmp_path, rng), LocalWork(LocalSettings(max_keypoints=50, min_side=0))
    found = SizedWork(work)(rows)
    assert found.schema == SIZED
    assert found["width"].to_pylist() == [200, None]
    assert found["height"].to_pylist() == [120, None]
    assert found.drop_columns(["width", "height"]).equals(work(rows))


def test_photos_that_kill_the_process_or_cannot_be_read_have_no_size(rng, tmp_path):
    found = rescue_sized(list_photos(tmp_path, rng), "killed")
    assert found.schema == SIZED
    assert found["status"].to_pylist() == ["crashed", "crashed"]
    assert found["width"].to_pylist() == [None, None]
    assert measure_sides(b"nothing") is None
    assert measure_sides(None) is None
