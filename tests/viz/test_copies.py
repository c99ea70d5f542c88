import numpy as np
import pyarrow as pa
import pytest

from resight.tables import IMAGES
from resight.viz.album import Album
from resight.viz.copies import align_previews, align_strip, draw_groups, draw_pairs
from resight.viz.pictures import Shown
from tests.report.committed import Committed


@pytest.fixture
def album(tmp_path):
    made = Committed(tmp_path)
    rows = {"image_id": [1, 2, 3], "uri": ["a.jpg", "b.jpg", "c.jpg"], "width": [40] * 3, "height": [30] * 3}
    made.commit("ingest-images", (IMAGES, rows))
    return Album(made.reader)


def test_the_kept_photo_comes_first_then_the_least_similar(album):
    rows = {"group_id": [9] * 3, "image_id": [1, 2, 3], "keep": [False, False, True]}
    rows |= {"reason": [None, None, "largest"], "similarity": [0.99, 0.95, 1.0]}
    picture = draw_groups(pa.table(rows), album, relations={(3, 1): "near"})
    words = [text.get_text().split("\n") for text in picture.texts]
    size = "40\N{MULTIPLICATION SIGN}30"
    assert words[:3] == [["3 photos"], ["kept: largest"], ["c.jpg", size]]
    assert words[3:] == [["b.jpg", size, "0.950"], ["a.jpg", size, "near copy", "0.990"]]
    assert [text.get_text() for text in picture.axes[0].texts] == [" kept "]


def test_a_pair_says_why_it_was_kept_apart(album):
    rows = {"image_a": [1], "image_b": [2], "relation": ["near"], "similarity": [0.97], "cut": ["too far"]}
    words = [text.get_text() for text in draw_pairs(pa.table(rows), album).texts]
    assert words[:2] == ["near copy, 0.970", "too far"]


def test_a_shifted_copy_is_laid_on_its_original(rng):
    ground = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    a, b = ground[:80, :100], ground[8:88, 16:116]
    shift = np.array([[1.0, 0, -16], [0, 1, -8], [0, 0, 1]])
    drawn_a, drawn_b, inside = align_previews(a, b, shift, [(100, 80), (100, 80)])
    assert inside.mean() > 0.9
    assert np.abs(drawn_a[inside].astype(int) - drawn_b[inside]).max() <= 1


def test_previews_are_laid_on_each_other_by_the_map_of_the_whole_photos(rng):
    ground = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    shift = np.array([[1.0, 0, -32], [0, 1, -16], [0, 0, 1]])  # in photos twice as large
    a, b = ground[:64, :72], ground[8:72, 16:88]
    drawn_a, drawn_b, inside = align_previews(a, b, shift, [(144, 128), (144, 128)])
    assert np.abs(drawn_a[inside].astype(int) - drawn_b[inside]).mean() < 2


def test_photos_that_do_not_overlap_stand_alone():
    grey = Shown(np.zeros((20, 20, 3), np.uint8))
    away = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    assert align_strip(grey, grey, away, [(20, 20), (20, 20)]) == [grey, grey]
