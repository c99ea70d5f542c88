import numpy as np
import pyarrow as pa

from resight.tables import IMAGES
from resight.viz.album import Album
from resight.viz.mined import draw_pools, draw_tuples
from resight.viz.objects import draw_saliency, heat_over
from resight.viz.pictures import Shown
from tests.report.committed import Committed


def test_the_most_salient_place_is_brightest():
    saliency = np.zeros((3, 3))
    saliency[0, 2] = 5.0
    heat = heat_over(np.full((30, 30, 3), 60, np.uint8), saliency).astype(int).sum(2)
    assert heat[0, 29] == heat.max()
    assert (heat[20:, :10] == 180).all()


def test_a_photo_stands_beside_its_map():
    grey = Shown(np.full((40, 60, 3), 90, np.uint8), "a.jpg")
    picture = draw_saliency([(grey, np.array([[0.0, 0.5]]))])
    assert [text.get_text() for text in picture.texts] == ["a.jpg", "saliency 0 to 0.5"]


def album(tmp_path):
    made = Committed(tmp_path)
    made.commit("ingest-images", (IMAGES, {"image_id": [1, 2, 3], "uri": ["a.jpg", "b.jpg", "c.jpg"]}))
    return Album(made.reader)


def marks(picture):
    return [text.get_text().strip() for axes in picture.axes for text in axes.texts]


def test_positives_come_before_negatives(tmp_path):
    rows = {"anchor": [1, 1], "item": [3, 2], "role": ["negative", "positive"], "rank": [0, 0]}
    rows |= {"reason": ["looks alike", "linked"], "score": [None, 0.5], "similarity": [0.9, None]}
    picture = draw_pools(pa.table(rows | {"n_common": [None, 40]}), album(tmp_path))
    assert marks(picture) == ["anchor", "positive", "anchor", "negative"]
    words = [text.get_text() for text in picture.texts]
    assert {"1 positive, linked", "1 negative, looks alike"} <= set(words)
    assert {"b.jpg\ngraph 0.5\n40 in common", "c.jpg\nsimilarity 0.90"} <= set(words)


def test_a_tuple_is_anchor_positive_negatives(tmp_path):
    rows = {"anchor": [1], "positive": [2], "negative": [3], "rank": [0], "source": ["manifold"]}
    rows |= {"split": ["train"], "positive_similarity": [0.2], "negative_similarity": [None]}
    picture = draw_tuples(pa.table(rows), album(tmp_path))
    assert marks(picture) == ["anchor", "positive", "negative"]
    assert "manifold, train" in [text.get_text() for text in picture.texts]
