import numpy as np
import pyarrow as pa
import pytest

from resight.tables import TRAINING_LOG
from resight.viz.figure import Picture
from resight.viz.look import duplicates, index, mined, search, training
from resight.viz.look.search import Answers
from resight.viz.look.workspace import Look, Sentence, needs, open_workspace
from tests.looked import commit_all


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    return open_workspace(commit_all(tmp_path_factory.mktemp("w")))


def answers(**lists):
    """Answers of methods to two queries."""
    rows = {}
    for method, (first, second) in lists.items():
        ranks = [*range(len(first)), *range(len(second))]
        query = [0] * len(first) + [1] * len(second)
        rows[method] = pa.table({"query": query, "rank": ranks, "image_id": [*first, *second]})
    return Answers((1, 2), 2, rows)


def test_the_photo_about_which_methods_agree_least_comes_first(look):
    given = answers(a=([3, 4], [5, 6]), b=([3, 4], [6, 7]))
    titles = [search.draw_disagreements(look, given, place=i).texts[0].get_text() for i in (0, 1)]
    assert titles[0] == "flower.jpg: methods share 50 % of their answers"
    assert titles[1] == "china.jpg: methods share 100 % of their answers"


def test_shares_are_means_over_queries():
    given = answers(a=([3, 4], [5, 6]), b=([3, 4], [6, 7]), c=([8, 9], [6, 7]))
    words = [text.get_text() for text in search.draw_agreement(given).axes[0].texts]
    assert words == ["1.00", "0.75", "0.25", "0.75", "1.00", "0.50", "0.25", "0.50", "1.00"]


def test_every_photo_is_left_out_of_its_own_answer(look):
    given = search.ask_methods(look, 7, depth=9, methods=("global", "diffusion", "asmk"))
    assert [*given.found] == ["global", "diffusion"]
    assert "shards" in given.missing["asmk"]
    for query, image in enumerate(given.queries):
        for ids in given.lists(query).values():
            assert len(ids) == 6
            assert image not in ids


def test_counts_are_told_in_sentences(look):
    assert "1 group with 1 copy that could go" in duplicates.describe_groups(look)
    assert "recall of the lists 1.000 (95 % interval 0.900 to 1.000)" in index.describe_graph(look)
    assert "1 pool of positives, 1 pool of negatives, 2 items" in mined.describe_pools(look)


@pytest.mark.parametrize(
    ("limits", "n"), [({}, 1), ({"positive_similarity": 0.2}, 0), ({"negative_similarity": 0.9}, 0)]
)
def test_tuples_are_filtered_by_how_hard_they_are(look, limits, n):
    rows = mined.read_tuples(look, **limits)
    assert len(rows) == n
    assert rows["positive"].tolist() == ["price $5 & $6.jpg"] * n


def test_an_epoch_is_the_mean_of_its_losses_and_the_last_of_the_rest(look):
    rows = training.list_epochs(look)
    assert rows["epoch"].tolist() == [0, 1]
    assert rows["map"].tolist() == [0.5, 0.6]
    np.testing.assert_allclose(rows["loss"], [np.nan, 0.35])


def test_degrees_count_the_edges_of_every_photo(look):
    heights = [bar.get_height() for bar in index.draw_components(look).axes[0].patches]
    assert heights == [0, 0, 0, 0, 0, 0, 7]


def test_a_metric_that_no_evaluation_has_is_named_with_those_there_are(look):
    assert "'recall@5'; there are: map_step" in index.draw_quality(look, "recall@5")
    assert isinstance(index.draw_quality(look), Picture)


def test_an_absent_table_is_a_sentence(look):
    class Empty:
        def has(self, table):
            return False

    bare = Look.__new__(Look)
    bare.tables = Empty()
    drawn = needs(TRAINING_LOG, "run `resight train-network`")(lambda look: 1)
    assert drawn(bare) == Sentence("run `resight train-network`")
    assert drawn(look) == 1
