import numpy as np
import pyarrow as pa
import pytest

from resight.tables import IMAGES, PREVIEWS
from resight.viz.album import Album
from resight.viz.rankings import draw_chains, draw_methods, draw_overlaps, draw_results
from tests.report.committed import Committed


@pytest.fixture
def album(tmp_path):
    made = Committed(tmp_path)
    ids = [1, 2, 3, 4]
    rows = {"image_id": ids, "uri": [f"trip/{i}.jpg" for i in ids], "status": ["ok"] * 4}
    rows |= {"width": [200] * 4, "height": [100] * 4}
    made.commit("ingest-images", (IMAGES, rows), (PREVIEWS, {"image_id": [1], "jpeg": [b"no picture"]}))
    return Album(made.reader)


def captions(picture):
    return [text.get_text() for text in picture.texts]


def test_results_are_drawn_in_rank_order_with_their_scores(album):
    columns = {"query": [0, 0, 0], "rank": [1, 0, 2], "image_id": [3, 2, 4], "score": [0.5, 1.0, 0.25]}
    words = captions(draw_results({0: album.show(1)}, pa.table(columns), album, depth=2))
    assert words == ["1.jpg", "2.jpg\n1. 1.000", "3.jpg\n2. 0.500"]


def test_what_one_method_alone_found_is_marked(album):
    lists = {"global": np.array([2, 3]), "diffusion": np.array([3, 4])}
    picture = draw_methods(album.show(1), lists, album)
    marks = [[text.get_text().strip() for text in axes.texts] for axes in picture.axes]
    assert marks == [["query"], ["only here"], [], [], ["only here"]]


def test_known_answers_are_marked_right_and_wrong(album):
    picture = draw_methods(album.show(1), {"global": np.array([2, 3])}, album, relevant=[3])
    marks = [text.get_text().strip() for axes in picture.axes for text in axes.texts]
    assert marks == ["query", "wrong", "right"]
    assert "1 of 2 right" in captions(picture)


def test_a_chain_is_drawn_in_the_order_of_its_hops(album):
    hops = {"query_id": [7, 7, 8], "image_id": [4, 4, 2], "hop": [1, 0, 0], "dst": [4, 3, 2]}
    table = pa.table(hops | {"affinity": [0.5, 0.75, 1.0], "product": [0.375, 0.75, 1.0]})
    words = captions(draw_chains(table, {7: album.show(1)}, album))
    assert words == [
        "4.jpg",
        "2 steps, product of affinities 0.3750",
        "1.jpg",
        "3.jpg\n\u2192 0.750",
        "4.jpg\n\u2192 0.500",
    ]


def test_shares_are_written_into_their_cells():
    shares = np.array([[1.0, 0.25], [0.25, 1.0]])
    picture = draw_overlaps(["global", "asmk"], shares, depth=10)
    assert [text.get_text() for text in picture.axes[0].texts] == ["1.00", "0.25", "0.25", "1.00"]
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == ["global", "asmk"]


def test_an_image_without_a_preview_is_shown_by_its_name(album):
    shown = album.show(4, boxes=[((10, 20, 50, 120), "")])
    assert shown.caption == "4.jpg"
    assert shown.boxes[0].place == (0.1, 0.1, 0.5, 0.6)
