"""Rows of codes: what has no preview, or no vector, has a row with the reason."""

import cv2
import numpy as np
import pyarrow as pa

from resight.arrow import vectors_to_arrow
from resight.hashing.learned import HashModel
from resight.hashing.work import CODED, encode_vectors, hash_previews


def test_an_image_without_a_preview_has_rows_with_the_reason(rng):
    pixels = rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    columns = {"image_id": [1, 2, 3], "content_hash": ["a", "b", "c"], "jpeg": [jpeg, None, b"no picture"]}
    rows = hash_previews(pa.record_batch(columns), ["phash", "pdq"]).to_pylist()
    assert [len([r for r in rows if r["image_id"] == i]) for i in (1, 2, 3)] == [16, 16, 16]
    assert [rows[i]["status"] for i in (0, 16, 32)] == ["ok", "missing", "undecodable"]
    assert [rows[i]["code"] is None for i in (0, 16, 32)] == [False, True, True]
    assert all(row["error"] for row in rows[16:])


def test_a_vector_that_is_not_ok_keeps_its_status():
    model = HashModel("itq", np.zeros(8, np.float32), np.eye(8, dtype=np.float32))
    vectors = vectors_to_arrow(np.ones((2, 8), np.float32), np.array([True, False]))
    columns = {"image_id": [1, 2], "content_hash": ["a", "b"], "vector": vectors}
    batch = pa.record_batch(columns | {"status": ["ok", "zero"], "error": pa.array([None, "no direction"])})
    coded = encode_vectors(batch, model, "float32")
    assert coded.schema == CODED
    assert coded["code"].to_pylist() == [b"\xff", None]
    assert coded["status"].to_pylist() == ["ok", "zero"]
    assert coded["n_bits"].to_pylist() == [8, 8]
