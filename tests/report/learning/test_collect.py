import io

import numpy as np
import pytest
from PIL import Image

from resight.report.collect import collect_report
from resight.report.page import render_page
from resight.tables import (
    IMAGES,
    OBJECT_INSTANCES,
    OBJECTS,
    PREVIEWS,
    TRAINING_LOG,
    TRAINING_POOLS,
    TRAINING_TUPLES,
)
from tests.report.committed import Committed
from tests.report.parsed import Parsed


def picture(width=80, height=60):
    """A preview whose left half is red and whose right half is blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 220, 220
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def committed(tmp_path):
    made = Committed(tmp_path / "workspace")
    ids = [1, 2, 3, 4]
    rows = {"image_id": ids, "uri": ["a.jpg", "b.jpg", "c.jpg", "<d>.jpg"], "status": ["ok"] * 4}
    rows |= {"width": [160] * 4, "height": [120] * 4, "n_bytes": [9] * 4}
    jpegs = {"image_id": ids, "jpeg": [picture()] * 3 + [b"no picture"]}
    made.commit("ingest-images", (IMAGES, rows), (PREVIEWS, jpegs))
    return made


def section(committed, anchor):
    return next(s for s in collect_report(committed.reader).sections if s.anchor == anchor)


def test_pools_are_shown_in_their_order_positives_first(committed):
    pools = {"anchor": [1, 1, 1], "item": [4, 3, 2], "role": ["negative", "positive", "positive"]}
    pools |= {"rank": [0, 1, 0], "similarity": [0.9, 0.2, 0.1], "score": [0.001, 0.4, 0.5]}
    tuples = {"anchor": [1], "positive": [2], "negative": [4]}
    committed.commit("mine-pairs", (TRAINING_POOLS, pools), (TRAINING_TUPLES, tuples))
    mined = section(committed, "mined")
    shown = [(pool.role, [item.photo.uri for item in pool.items]) for pool in mined.pools]
    assert shown == [("positive", ["b.jpg", "c.jpg"]), ("negative", ["<d>.jpg"])]
    text = Parsed(render_page(collect_report(committed.reader))).text
    assert "1 anchor with 2 positives and 1 negative, 1 training tuple" in text


def test_an_object_is_cut_out_of_its_best_instances_one_of_a_photo(committed):
    boxes = {"object_id": [7, 7, 7, 8], "image_id": [1, 1, 2, 4], "region_ix": [0, 1, 0, 0]}
    boxes |= {"y0": [0] * 4, "x0": [0, 100, 100, 0], "y1": [60] * 4, "x1": [60, 160, 160, 60]}
    boxes |= {"score": [0.9, 0.5, 0.7, 0.9]}
    found = {"object_id": [7, 8], "n_images": [2, 1], "n_instances": [3, 1], "score": [1.6, 0.9]}
    committed.commit("discover-objects", (OBJECTS, found), (OBJECT_INSTANCES, boxes))
    first, second = section(committed, "objects").objects
    assert [(i.photo.uri, i.photo.width) for i in first.instances] == [("a.jpg", 60), ("b.jpg", 60)]
    assert second.instances == ()  # the preview of <d>.jpg is broken
    colours = [np.asarray(Image.open(io.BytesIO(i.jpeg))).mean((0, 1)).argmax() for i in first.instances]
    assert colours == [0, 2]
    assert "in 2 photos, 3 boxes" in Parsed(render_page(collect_report(committed.reader))).text


def test_the_steps_of_an_epoch_are_summed_up(committed):
    log = {"epoch": [1, 0, 1, 2], "step": [2, 1, 1, 1], "loss": [0.2, None, 0.4, 0.1]}
    log |= {"map": [0.6, 0.5, None, 0.55], "p": [2.8, 3.0, 2.9, 2.7]}
    committed.commit("train-network", (TRAINING_LOG, log), name="lite0-trained")
    training = section(committed, "training")
    assert [epoch.loss for epoch in training.epochs] == [None, pytest.approx(0.3), 0.1]
    assert [epoch.p for epoch in training.epochs] == [3.0, 2.8, 2.7]
    words = "lite0-trained was trained for 2 epochs; mean average precision on the validation: 0.500"
    assert words in Parsed(render_page(collect_report(committed.reader))).text


def test_absent_tables_name_the_jobs_that_write_them(committed):
    text = Parsed(render_page(collect_report(committed.reader))).text
    for job in ("mine-pairs", "discover-objects", "train-network"):
        assert f"resight {job}" in text
