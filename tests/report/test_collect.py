import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from resight.arrow import lists_to_arrow
from resight.reader import Reader
from resight.report.collect import collect_report
from resight.report.page import render_page
from resight.report.source import read_scattered, sample_ids
from resight.tables import (
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    GLOBAL_DESCRIPTORS,
    IMAGES,
    METRICS,
    NEIGHBORS,
    PREVIEWS,
    SOURCES,
)
from tests.report.committed import MOMENT, Committed
from tests.report.parsed import Parsed


@pytest.fixture
def committed(tmp_path):
    return Committed(tmp_path / "workspace")


def section(reader, anchor, **options):
    data = collect_report(reader, **options)
    return next(s for s in data.sections if s.anchor == anchor)


def images(ids, **columns):
    n = len(ids)
    rows = {"image_id": ids, "uri": [f"{i}.jpg" for i in ids], "status": ["ok"] * n, "n_bytes": [100] * n}
    return IMAGES, rows | columns


def groups(*parts):
    """Groups of (image_id, keep, similarity); a group is called by its smallest image."""
    rows = [(min(m[0] for m in part), *member) for part in parts for member in part]
    names = ("group_id", "image_id", "keep", "similarity")
    return DUPLICATE_GROUPS, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def neighbors(src, lists):
    offsets = np.cumsum([0, *(len(pairs) for pairs in lists)])
    dst = np.array([i for pairs in lists for i, _ in pairs], np.int64)
    similarity = np.array([s for pairs in lists for _, s in pairs], np.float32)
    packed = lists_to_arrow(offsets, dst), lists_to_arrow(offsets, similarity)
    return NEIGHBORS, pa.table({"src": src, "dst": packed[0], "similarity": packed[1]})


def test_a_workspace_without_runs_gives_a_page_of_sentences(committed):
    data = collect_report(committed.reader)
    text = Parsed(render_page(data)).text
    for words in ("No run is recorded", "collection is empty", "find-duplicates", "build-graph", "evaluate"):
        assert words in text
    assert data.thumbnails == {}


def test_numbers_leave_removed_images_out(committed):
    status = ["ok", "undecodable", "ok", "ok"]
    removed = images([1, 2, 3, 4], status=status, removed_at=[None, None, None, MOMENT])
    committed.commit("ingest-images", removed, (SOURCES, {"source_id": ["s"], "root": ["/photos"]}))
    numbers = section(committed.reader, "numbers")
    assert numbers.statuses == (("ok", 2), ("undecodable", 1))
    assert (numbers.n_bytes, numbers.n_removed, numbers.sources) == (300, 1, ("/photos",))


def test_bytes_freed_are_those_of_the_members_not_kept(committed):
    committed.commit("ingest-images", images([1, 2, 3, 4], n_bytes=[1, 20, 300, 4000]))
    parts = [(1, False, 0.95), (2, True, 1.0), (3, False, 0.97)]
    committed.commit("find-duplicates", groups(parts), settings={"threshold": 0.9})
    numbers = section(committed.reader, "numbers")
    assert (numbers.n_groups, numbers.n_copies, numbers.bytes_freed) == (1, 2, 301)


def test_runs_are_the_last_of_each_build(committed):
    committed.commit("ingest-images", images([1]), seconds=3.0)
    committed.commit("find-duplicates", groups([(1, True, 1.0), (2, False, 0.9)]), name="nightly")
    runs = section(committed.reader, "numbers").runs
    assert [(r.job, r.name, r.rows) for r in runs] == [
        ("ingest-images", "", {"images": 1}),
        ("find-duplicates", "nightly", {"duplicate_groups": 2}),
    ]


def test_groups_come_largest_first_and_least_alike_members_first(committed):
    committed.commit("ingest-images", images(list(range(1, 10)), width=[640] * 9))
    small = [(1, True, 1.0), (2, False, 0.95)]
    large = [(3, False, 0.98), (4, False, 0.91), (5, True, 1.0)]
    committed.commit("find-duplicates", groups(small, large, [(6, True, 1.0), (7, False, 0.9)]))
    found = section(committed.reader, "copies", n_groups=2)
    assert [g.group_id for g in found.groups] == [3, 1]
    assert found.n_groups == 3
    assert found.groups[0].kept.image_id == 5
    assert [c.photo.image_id for c in found.groups[0].copies] == [4, 3]
    assert found.groups[0].copies[0].photo.uri == "4.jpg"


def test_relation_is_that_of_the_pair_with_the_kept_photo(committed):
    pairs = {"image_a": [1, 2], "image_b": [2, 3], "relation": ["exact", "near"], "similarity": [1.0, 0.92]}
    members = groups([(1, False, None), (2, True, 1.0), (3, False, 0.91), (4, False, 0.93)])
    committed.commit("find-duplicates", members, (DUPLICATE_PAIRS, pairs))
    (group,) = section(committed.reader, "copies").groups
    evidence = {c.photo.image_id: (c.relation, round(c.similarity, 2)) for c in group.copies}
    assert evidence == {1: ("exact", 1.0), 3: ("near", 0.91), 4: ("indirect", 0.93)}


def test_ten_thousand_groups_are_capped_and_counted(committed):
    parts = [[(2 * i, True, 1.0), (2 * i + 1, False, 0.9)] for i in range(9_999)]
    giant = [(1_000_000 + i, i == 0, 1 - i / 30_000) for i in range(5_000)]
    committed.commit("find-duplicates", groups(*parts, giant))
    page = render_page(collect_report(committed.reader, n_groups=20))
    parsed = Parsed(page)
    assert len(parsed.having("article", data_set=None)) == 20
    assert "9,980 smaller groups not shown, of 10,000 in all" in parsed.text
    assert "and 4,987 more copies" in parsed.text
    assert len(page) < 300_000


def test_a_page_asked_to_show_nothing_still_counts(committed):
    committed.commit("build-graph", neighbors([1, 2], [[(2, 0.9)], [(1, 0.9)]]))
    committed.commit("find-duplicates", groups([(1, True, 1.0), (2, False, 0.9)]))
    data = collect_report(committed.reader, n_groups=0, n_neighbours=0)
    assert "1 group found, none of them shown" in Parsed(render_page(data)).text


def test_pairs_kept_apart_come_most_alike_first(committed):
    pairs = {"image_a": [1, 3, 5], "image_b": [2, 4, 6], "similarity": [0.91, 0.99, 1.0]}
    cut = {"cut": ["unlike the kept one", "too far", None], "relation": ["near"] * 3}
    members = groups([(5, True, 1.0), (6, False, 1.0)])
    committed.commit("find-duplicates", members, (DUPLICATE_PAIRS, pairs | cut))
    found = section(committed.reader, "copies")
    assert found.n_cuts == 2
    assert [(c.a.image_id, c.reason) for c in found.cuts] == [(3, "too far"), (1, "unlike the kept one")]


def test_strips_follow_the_stored_ranking_and_take_the_threshold_of_the_run(committed):
    committed.commit("ingest-images", images([1, 2, 3]))
    committed.commit("build-graph", neighbors([1, 2, 3], [[(3, 0.9), (2, 0.4)], [(1, 0.4)], []]))
    committed.commit(
        "find-duplicates", groups([(1, True, 1.0), (3, False, 0.9)]), settings={"threshold": 0.8}
    )
    found = section(committed.reader, "neighbours")
    strips = {s.photo.image_id: [(p.uri, round(v, 3)) for p, v in s.neighbours] for s in found.strips}
    assert strips == {1: [("3.jpg", 0.9), ("2.jpg", 0.4)], 2: [("1.jpg", 0.4)], 3: []}
    assert (found.n_photos, found.threshold) == (3, 0.8)


def test_histogram_counts_the_nearest_neighbour_of_every_photo(committed):
    lists = [[(2, 1.0000001), (3, 0.1)], [(1, 0.3)], [], [(1, np.nan)]]
    committed.commit("build-graph", neighbors([1, 2, 3, 4], lists))
    found = section(committed.reader, "similarities")
    assert (found.n_sampled, found.n_photos, sum(found.counts)) == (2, 4, 2)
    assert found.counts[-1] == 1
    assert found.edges[0] <= 0.3 <= found.edges[-1] == pytest.approx(1)
    assert len(found.counts) <= 50


def test_histogram_of_a_large_collection_is_that_of_a_sample(committed, monkeypatch):
    monkeypatch.setattr("resight.report.collect.HISTOGRAM_SAMPLE", 7)
    nearest = np.linspace(0.5, 0.99, 40)
    committed.commit("build-graph", neighbors(range(40), [[(i + 1, nearest[i])] for i in range(40)]))
    found = section(committed.reader, "similarities", seed=3)
    assert (found.n_sampled, found.n_photos) == (7, 40)
    drawn = nearest[sample_ids(np.arange(40), 7, seed=3)]
    np.testing.assert_array_equal(found.counts, np.histogram(drawn, found.edges)[0])


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_page_is_the_same_however_its_tables_are_streamed(committed, rng, monkeypatch, size):
    commit_everything(committed, rng.permutation(60) + 1)
    expected = collect_report(committed.reader, n_groups=4, n_neighbours=5)
    whole = Reader.batches

    def in_pieces(self, *args, **options):
        for batch in whole(self, *args, **options):
            yield from (batch.slice(i, size) for i in range(0, len(batch), size))

    monkeypatch.setattr(Reader, "batches", in_pieces)
    monkeypatch.setattr("resight.report.source.IDS_AT_ONCE", 4)
    assert collect_report(committed.reader, n_groups=4, n_neighbours=5) == expected


def commit_everything(committed, ids):
    """Commit images of which every fifth failed, groups of 2 to 6, a graph and pairs kept apart."""
    status = ["undecodable" if i % 5 == 0 else "ok" for i in ids]
    errors = [f"{'short' if i % 2 else 'odd'} by {i}" if i % 5 == 0 else None for i in ids]
    facts = {"status": status, "error": errors, "n_bytes": ids.tolist()}
    committed.commit("ingest-images", images(ids.tolist(), **facts))
    vectors = {"image_id": ids.tolist(), "status": ["nan" if i % 10 < 2 else "ok" for i in ids]}
    committed.commit("extract-features", (GLOBAL_DESCRIPTORS, vectors))
    committed.commit("build-graph", neighbors(ids.tolist(), [[(1 + i % 60, i / 61)] for i in ids]))
    parts = np.split(np.sort(ids), [2, 5, 9, 14, 20, 22, 25])[:-1]
    pairs = {"image_a": ids[::2].tolist(), "image_b": ids[1::2].tolist(), "relation": ["near"] * 30}
    pairs |= {"similarity": (ids[::2] / 61).tolist(), "cut": ["unlike" if i % 3 else None for i in ids[::2]]}
    members = [[(int(i), i == part[0], i / 61) for i in part] for part in parts]
    committed.commit("find-duplicates", groups(*members), (DUPLICATE_PAIRS, pairs))


def test_reasons_beyond_a_limit_are_counted_and_not_told_apart(committed, monkeypatch):
    monkeypatch.setattr("resight.report.collect.MAX_KINDS", 2)
    errors = ["a", "b", "c", "b", "c", "c"]
    committed.commit("ingest-images", images(list(range(6)), status=["undecodable"] * 6, error=errors))
    (failure,) = section(committed.reader, "failures").failures
    assert [(r.text, r.n_images) for r in failure.reasons] == [("b", 2), ("a", 1)]
    assert (failure.n_images, failure.n_reasons) == (6, 2)


def test_failures_count_a_broken_image_once(committed):
    status = ["ok", "undecodable", "undecodable", "undecodable", "ok"]
    errors = [None, "37 bytes\n missing", "5 bytes\n missing", None, None]
    committed.commit("ingest-images", images([1, 2, 3, 4, 5], status=status, error=errors))
    vectors = {
        "image_id": [1, 2, 5],
        "status": ["ok", "undecodable", "nan"],
        "error": [None, "x", "not a number"],
    }
    committed.commit("extract-features", (GLOBAL_DESCRIPTORS, vectors))
    broken, unusable = section(committed.reader, "failures").failures
    assert (broken.status, broken.n_images, broken.n_reasons) == ("undecodable", 3, 2)
    assert [(r.text, r.n_images, r.examples) for r in broken.reasons] == [
        ("37 bytes missing", 2, ("2.jpg", "3.jpg")),
        ("", 1, ("4.jpg",)),
    ]
    assert (unusable.stage, unusable.status, unusable.reasons[0].examples) == (
        "describing",
        "nan",
        ("5.jpg",),
    )


def test_metrics_are_the_aggregates_of_every_evaluation(committed):
    row = {"protocol": ["p", "p"], "method": ["global"] * 2, "query_id": [None, 3], "metric": ["ap_step"] * 2}
    for name, value in (("one", 0.5), ("two", 0.75)):
        committed.commit("evaluate", (METRICS, row | {"value": [value, 0.1]}), name=name)
    metrics = section(committed.reader, "quality").metrics
    assert [(m.build, m.value) for m in metrics] == [("one", 0.5), ("two", 0.75)]


def test_only_previews_that_are_shown_are_read(committed):
    jpegs = {"image_id": [1, 2, 3], "jpeg": [b"one", b"two", None]}
    committed.commit("ingest-images", images([1, 2, 3]), (PREVIEWS, jpegs))
    committed.commit("find-duplicates", groups([(1, True, 1.0), (3, False, 0.9)]))
    assert collect_report(committed.reader).thumbnails == {1: b"one"}


def test_photos_of_several_sources_are_told_apart(committed):
    sources = {"source_id": ["a", "b"], "root": ["/first/", "s3a://second"]}
    committed.commit("ingest-images", images([1, 2], source_id=["a", "b"]), (SOURCES, sources))
    committed.commit("find-duplicates", groups([(1, True, 1.0), (2, False, 0.9)]))
    (group,) = section(committed.reader, "copies").groups
    assert (group.kept.uri, group.copies[0].photo.uri) == ("/first/1.jpg", "s3a://second/2.jpg")


def test_sample_depends_on_ids_and_seed_alone(rng):
    ids = rng.integers(-(2**62), 2**62, 1000)
    drawn = sample_ids(ids, 50, seed=1)
    np.testing.assert_array_equal(drawn, sample_ids(rng.permutation(ids), 50, seed=1))
    np.testing.assert_array_equal(drawn[:10], sample_ids(ids, 10, seed=1))
    fewer = ids[np.isin(ids, drawn) | (np.arange(1000) % 2 == 0)]
    np.testing.assert_array_equal(drawn, sample_ids(fewer, 50, seed=1))
    assert len(np.intersect1d(drawn, sample_ids(ids, 50, seed=2))) < 15
    assert len(sample_ids(ids, 5000, seed=1)) == 1000


@pytest.mark.parametrize("rows_per_group", [1, 3, 1000])
def test_scattered_rows_are_found_in_whatever_row_group_they_are(tmp_path, rng, rows_per_group):
    table = pa.table({"image_id": rng.permutation(40), "jpeg": [bytes([i]) for i in range(40)]})
    pq.write_table(table.slice(0, 25), tmp_path / "a.parquet", row_group_size=rows_per_group)
    pq.write_table(table.slice(25), tmp_path / "b.parquet", row_group_size=rows_per_group)
    found = read_scattered(ds.dataset(tmp_path), ["jpeg", "image_id"], "image_id", [3, 17, 39, 99])
    expected = table.filter(pa.array(np.isin(table["image_id"], [3, 17, 39]))).select(["jpeg", "image_id"])
    assert found.sort_by("image_id").equals(expected.sort_by("image_id"))


def test_row_groups_without_a_wanted_row_are_not_decoded(tmp_path):
    file = tmp_path / "a.parquet"
    table = pa.table({"image_id": [1, 3, 2, 4], "jpeg": [b"one", b"three", b"two", b"four"]})
    pq.write_table(table, file, row_group_size=2)
    spoiled = pq.ParquetFile(file).metadata.row_group(1).column(1)
    content = bytearray(file.read_bytes())
    start = spoiled.dictionary_page_offset or spoiled.data_page_offset
    content[start : start + spoiled.total_compressed_size] = bytes(spoiled.total_compressed_size)
    file.write_bytes(content)
    with pytest.raises(OSError, match="deserializ"):
        ds.dataset(file).to_table(filter=ds.field("image_id").isin([3]))
    assert read_scattered(ds.dataset(file), ["jpeg"], "image_id", [3])["jpeg"].to_pylist() == [b"three"]
