"""Evidence of pairs: where a copy lies in the kept photo, whichever of both has the smaller id."""

import numpy as np
import pytest

from resight.report.collect import collect_report
from resight.report.compare import WHOLE, Evidence, find_place, render_tools
from resight.report.groups import Groups
from resight.report.sections import Photo
from resight.tables import DUPLICATE_GROUPS, DUPLICATE_PAIRS, IMAGES
from tests.report.committed import Committed
from tests.report.parsed import Parsed

KEPT, HALF = Photo(1, "kept.jpg", 200, 100), Photo(2, "half.jpg", 100, 100)
RIGHT_HALF = np.array([[1.0, 0, 100], [0, 1, 0], [0, 0, 1]])  # of the copy's pixels, in the kept photo
PLACE = (0.5, 0, 0.5, 0, 1, 0, 0, 0, 1)


def test_a_place_is_in_units_of_the_kept_photo():
    assert find_place(RIGHT_HALF, KEPT, HALF) == pytest.approx(PLACE)
    doubled = np.diag([2.0, 2, 1])
    doubled[:2, 2] = 0.5  # the first pixels' corners meet, not their centres
    assert find_place(doubled, KEPT, Photo(3, "small.jpg", 100, 50)) == pytest.approx(WHOLE)


@pytest.mark.parametrize(
    ("transform", "kept"),
    [
        (RIGHT_HALF, Photo(1, "unknown.jpg")),
        (np.full((3, 3), np.nan), KEPT),
        (np.array([[1.0, 0, 0], [0, 1, 0], [-0.02, 0, 1]]), KEPT),  # a corner behind the horizon
        (np.diag([1e6, 1e6, 1.0]), KEPT),
        (np.zeros((3, 3)), KEPT),
    ],
)
def test_what_could_not_be_drawn_has_no_place(transform, kept):
    assert find_place(transform, kept, HALF) is None


def test_evidence_is_written_in_words():
    words = Evidence(PLACE, True, 0.97, 0.5, 1211, "descriptors+codes").describe()
    assert words == (
        "aligned pixels agree to 0.970, shows 50.0 % of the kept photo, 1,211 keypoints explained, "
        "found by descriptors and codes"
    )
    assert Evidence().describe() == "frames laid on each other"
    parsed = Parsed(render_tools(Evidence(PLACE, True), HALF))
    (button,) = parsed.having("button", class_="compare")
    assert button["data-place"] == "0.5 0 0.5 0 1 0 0 0 1"
    assert parsed.having("p", class_="tools", hidden=None)
    assert parsed.having("input", class_="mark", aria_label="Mark half.jpg")


@pytest.mark.parametrize("kept_first", [True, False])
def test_stored_evidence_is_seen_from_the_kept_photo(tmp_path, kept_first):
    kept, copy = (1, 2) if kept_first else (2, 1)
    size = {kept: (200, 100), copy: (100, 100)}
    committed = Committed(tmp_path)
    images = {"image_id": [1, 2], "source_id": ["s"] * 2, "uri": ["1.jpg", "2.jpg"]}
    images |= {name: [size[i][axis] for i in (1, 2)] for axis, name in enumerate(("width", "height"))}
    committed.commit("ingest-images", (IMAGES, images))
    H = np.linalg.inv(RIGHT_HALF) if kept_first else RIGHT_HALF  # pixels of a -> pixels of b
    relation = "contains" if kept_first else "crop"  # read a -> b
    pair = {"image_a": [1], "image_b": [2], "relation": [relation], "transform": [H.tobytes()]}
    pair |= {"overlap_a": [0.5 if kept_first else 1.0], "overlap_b": [1.0 if kept_first else 0.5]}
    groups = {"group_id": [1, 1], "image_id": [kept, copy], "keep": [True, False]}
    committed.commit("find-duplicates", (DUPLICATE_PAIRS, pair), (DUPLICATE_GROUPS, groups))
    (section,) = (s for s in collect_report(committed.reader).sections if isinstance(s, Groups))
    (found,) = section.groups[0].copies
    assert found.relation == "crop"
    assert found.evidence is not None
    assert found.evidence.place == pytest.approx(PLACE)
    assert found.evidence.overlap == 0.5
    parsed = Parsed(section.render({}))
    assert parsed.having("li", data_image=str(copy), data_group="1", data_uri=f"{copy}.jpg")
