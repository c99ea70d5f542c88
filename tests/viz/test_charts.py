import numpy as np
import pyarrow as pa

from resight.viz.charts import Interval, draw_counts, draw_histogram, draw_intervals, draw_training
from resight.viz.graphs import draw_graph, draw_manifold


def titles(picture):
    return [axes.get_title(loc="left") for axes in picture.axes]


def test_what_is_not_finite_is_not_counted():
    picture = draw_histogram({"a": np.array([0.1, np.nan, 0.9]), "b": np.array([np.inf])}, x="similarity")
    assert [text.get_text() for text in picture.axes[0].get_legend().get_texts()] == ["a (2)"]


def test_samples_of_different_sizes_are_compared_by_share():
    samples = {"few": np.full(3, 0.5), "many": np.full(500, 0.5)}
    picture = draw_histogram(samples, x="similarity", shares=True)
    heights = {
        round(patch.get_height(), 9) for patch in picture.axes[0].patches if hasattr(patch, "get_height")
    }
    assert heights == {0.0, 1.0}


def test_a_threshold_is_drawn_where_it_lies():
    picture = draw_histogram({"pairs": np.linspace(0, 1, 9)}, x="similarity", lines={"copies": 0.75})
    assert [line.get_xdata() for line in picture.axes[0].lines] == [[0.75, 0.75]]


def test_intervals_without_a_value_are_left_out():
    figures = [Interval("a", 0.5, 0.4, 0.6), Interval("b", float("nan")), Interval("c", 0.7)]
    axes = draw_intervals(figures).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c"]
    assert [line.get_xdata().tolist() for line in axes.lines[::2]] == [[0.4, 0.6], [0.7, 0.7]]


def test_curves_skip_what_is_null_and_go_by_step():
    log = pa.table({"epoch": [2, 0, 1], "loss": [0.1, None, 0.3], "map": [None, None, None]})
    picture = draw_training(log, step="epoch", curves={"Loss": ["loss"], "Quality": ["map", "absent"]})
    assert titles(picture) == ["Loss"]
    assert picture.axes[0].lines[0].get_xydata().tolist() == [[1, 0.3], [2, 0.1]]


def test_nothing_is_a_sentence_everywhere():
    nothing = np.zeros(0)
    pictures = (
        draw_histogram({"a": nothing}, x="similarity"),
        draw_counts({}, title="Pairs"),
        draw_intervals([]),
        draw_training(pa.table({"epoch": [], "loss": []}), step="epoch", curves={"Loss": ["loss"]}),
        draw_graph(nothing.astype(int), nothing.astype(int)),
        draw_manifold(nothing, nothing),
    )
    assert all(not picture.axes and picture.texts[0].get_text().endswith(".") for picture in pictures)


def test_degrees_and_components_are_counted():
    axes = draw_graph(np.array([2, 1, 1, 0]), np.array([3, 1])).axes
    assert [bar.get_height() for bar in axes[0].patches] == [1, 2, 1]
    assert axes[1].lines[0].get_xydata().tolist() == [[1, 3], [2, 1]]


def test_pairs_are_told_apart_by_kind():
    euclidean, manifold = np.array([0.9, 0.2, np.nan]), np.array([0.1, 0.5, 0.3])
    picture = draw_manifold(euclidean, manifold, kinds=np.array([1, 0, 0]), names=("positive", "negative"))
    found = {points.get_label(): points.get_offsets().tolist() for points in picture.axes[0].collections}
    assert found == {"positive (1)": [[0.2, 0.5]], "negative (1)": [[0.9, 0.1]]}
