import sys

import numpy as np
import pytest

from resight.viz.pictures import Box, Shown, Strip, draw_pictures, draw_strips


def photo(width=90, height=60, **facts):
    return Shown(np.full((height, width, 3), 128, np.uint8), **facts)


def places(picture):
    """Places of the photos in inches: left, bottom, width, height."""
    W, H = picture.get_size_inches()
    return np.array([axes.get_position(original=True).bounds for axes in picture.axes]) * [W, H, W, H]


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_no_photo_leaves_the_figure_or_covers_another(n, wrap):
    picture = draw_strips([Strip([photo(40 + 30 * i) for i in range(n)], "some")], wrap=wrap, width=8)
    found = places(picture)
    assert (found[:, 0] + found[:, 2] <= 8).all()
    assert (found[:, :2] >= 0).all()
    for row in np.unique(found[:, 1].round(6)):
        line = found[np.isclose(found[:, 1], row)]
        order = line[np.argsort(line[:, 0])]
        assert (order[:-1, 0] + order[:-1, 2] < order[1:, 0]).all()


def test_a_strip_that_does_not_wrap_is_one_row_of_smaller_photos():
    found = places(draw_strips([Strip([photo()] * 20)], wrap=False, height=1.3))
    assert len(np.unique(found[:, 1])) == 1
    assert found[0, 3] < 1.3


def test_photos_keep_their_shape():
    picture = draw_pictures([photo(200, 100)], height=1.0)
    picture.canvas.draw()
    box = picture.axes[0].get_position()
    W, H = picture.get_size_inches()
    assert box.width * W / (box.height * H) == pytest.approx(2, rel=0.06)


def test_columns_stand_beside_each_other():
    found = places(draw_strips([Strip([photo()]), Strip([photo()]), Strip([photo()])], columns=2))
    assert found[0, 1] == found[1, 1] > found[2, 1]
    assert found[0, 0] == found[2, 0] < found[1, 0]


def test_a_box_lies_where_it_does_in_the_photo():
    boxed = photo(100, 50, boxes=(Box((0.2, 0.5, 0.6, 0.9), "cup"),))
    outline = draw_pictures([boxed]).axes[0].patches[0]
    assert outline.get_xy() == pytest.approx((49.5, 9.5))
    assert (outline.get_width(), outline.get_height()) == pytest.approx((40, 20))


def test_names_are_no_formulas_and_marks_are_words():
    picture = draw_pictures([photo(caption="$\\frac{1}$ ^_.jpg", mark="kept")])
    assert picture.to_png()
    assert [text.get_text() for text in picture.axes[0].texts] == [" kept "]


def test_nothing_to_show_is_a_sentence():
    assert draw_strips([], title="Groups").texts[0].get_text() == "Groups: nothing to show."


def test_figures_leave_pyplot_alone():
    draw_pictures([photo()]).to_png()
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
