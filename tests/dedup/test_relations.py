"""What two photos are to each other, of copies made by known transforms."""

import numpy as np
import pytest

from resight.dedup.relations import RelateSettings, Relation, relate
from tests.dedup.relating.copies import copies_of, draw_page, draw_photos, save_jpeg
from tests.verification.scenes import apply, draw_scene, turn, warp_scene

SCENE, OTHER = draw_photos()
COPIES = copies_of(SCENE, OTHER)
STRICT = RelateSettings(strict=True)
PLACES = np.array([[80.0, 60], [240, 60], [240, 180], [80, 180]])
REVERSED = {"crop": "contains", "contains": "crop"}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_has_the_relation_and_the_transform_that_made_it(name):
    copy, relation, transform = COPIES[name]
    found = relate(SCENE, copy)
    assert found.relation == relation
    if transform is not None:
        np.testing.assert_allclose(apply(found.transform, PLACES), apply(transform, PLACES), atol=1.5)


@pytest.mark.parametrize("name", ["mirrored", "rotated", "cropped", "framed", "pasted"])
def test_the_relation_read_backwards_is_its_reverse(name):
    copy, relation, _ = COPIES[name]
    forth, back = relate(SCENE, copy), relate(copy, SCENE)
    assert back.relation == forth.reverse().relation == REVERSED.get(relation, relation)
    assert back.overlap_a == pytest.approx(forth.overlap_b, abs=0.03)
    np.testing.assert_allclose(apply(back.transform, apply(forth.transform, PLACES)), PLACES, atol=1.5)


def test_equal_pixels_are_said_to_be_equal():
    found = relate(SCENE, SCENE.copy())
    assert (found.relation, found.agreement, found.overlap_a) == ("same_pixels", 1, 1)


def test_strangers_have_no_relation():
    assert [relate(SCENE, draw_scene(seed)).relation for seed in (7, 8)] == [None, None]
    flat = np.full((90, 120, 3), 128, np.uint8)
    assert relate(SCENE, flat).relation is None
    assert relate(flat, np.full((80, 80, 3), 60, np.uint8)) == Relation()


def test_a_view_from_elsewhere_with_other_things_around_is_the_same_scene():
    bent = np.array([[0.9, 0.05, 20], [-0.04, 0.95, 10], [4e-4, -3e-4, 1]])
    view = warp_scene(SCENE, bent, (320, 240))
    view[:, :110], view[150:] = OTHER[:, :110], OTHER[150:]
    assert relate(SCENE, view).relation == "same_scene"


def test_different_things_on_one_ground_are_no_copies():
    one, other = draw_scene(21), draw_scene(21)
    middle = np.s_[40:200, 60:260]
    one[middle], other[middle] = SCENE[middle], 255 - SCENE[middle]
    assert relate(one, other).relation in ("same_scene", "composite")


def test_small_and_large_copies_are_found():
    large = warp_scene(SCENE, turn(0, 4, (1.5, 1.5)), (1280, 960))
    found = relate(large, save_jpeg(SCENE[::2, ::2]))
    assert found.relation == "near"
    assert found.transform[0, 0] == pytest.approx(1 / 8, rel=0.01)


@pytest.mark.parametrize("digit", ["8", "9", "1"])
@pytest.mark.parametrize("quality", [90, 40])
def test_strict_keeps_pages_apart_that_differ_in_one_digit(digit, quality):
    page = draw_page("3")
    changed = save_jpeg(draw_page(digit), quality)
    assert relate(page, changed).relation == "near"
    assert relate(page, changed, STRICT).relation == "same_scene"


@pytest.mark.parametrize("quality", [90, 40, 20])
def test_strict_takes_recompressed_copies_of_one_page(quality):
    page = draw_page("3")
    found = relate(page, save_jpeg(page, quality), STRICT)
    assert found.relation == "near"
    assert found.difference < 2.6


def test_strict_takes_resized_and_recompressed_photos():
    for copy in (save_jpeg(SCENE, 30), save_jpeg(SCENE[::2, ::2], 70), COPIES["mirrored"][0]):
        assert relate(SCENE, copy, STRICT).relation in ("near", "mirrored")


def test_pixels_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"expected \(h, w, 3\) uint8"):
        relate(SCENE, SCENE[:, :, 0])
