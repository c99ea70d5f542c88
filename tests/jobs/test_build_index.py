"""An index of real photos against the kernels, and against a rebuild after every change."""

import itertools
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import resight
from resight.asmk.across import merge_entries
from resight.asmk.aggregate import aggregate_image
from resight.asmk.growth import choose_rewritten
from resight.asmk.kernel import Entries, raw_scores
from resight.asmk.shard import CorruptShardError, ShardFiles
from resight.codebook.model import Codebook
from resight.codebook.quantize import assign
from resight.config import SettingError
from resight.features.local.points import join_features
from resight.job import Options
from resight.jobs import build_index as index_job
from resight.jobs.build_index import IndexConfig
from resight.jobs.build_index import main as build
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.jobs.extract_local_features import main as extract
from resight.jobs.fit_model import FitConfig
from resight.jobs.fit_model import main as fit
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.store import TableStore
from resight.tables import (
    ENTRIES,
    IMAGE_STATS,
    IMAGES,
    LOCAL_DESCRIPTORS,
    MODELS,
    RESULTS,
    SHARDS,
    WORD_STATS,
)
from resight.workspace import Workspace
from tests.asmk import oracles
from tests.pictures import save_collection, save_photo

K = 12
LOCAL = {"min_side": 0, "max_keypoints": 30}
ANY_LOSS = Options(accept_loss=True)


def open_collection(spark, folder):
    """Six photos, of which keypoints of three are stored, and a codebook fitted on these."""
    save_collection(folder / "photos")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(folder / "photos")))
    some = tuple(f"uri={name}.jpg" for name in ("astronaut", "coffee", "china"))
    extract(store, ExtractLocalConfig(only=some, **LOCAL))
    fit(store, FitConfig(kind="codebook", words=K, iterations=3))
    return store


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    return open_collection(spark, tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="module")
def built(store):
    return build(store, IndexConfig(chunk_size=2, keep_local="all", shard_images=3), Options(name="whole"))


def codebook_of(store):
    return Codebook.from_bytes(store.reader.read(MODELS)["params"][0].as_py())


def entries_of(store, name):
    rows = store.reader.read(ENTRIES, name).to_pylist()
    found = {(row["word_id"], row["image_id"]): row["code"] for row in rows}
    assert len(found) == len(rows)
    return found


def shards_of(store, name):
    """Entries and images in the shards: (word, image) -> list of codes."""
    found, images = {}, []
    for row in store.reader.read(SHARDS, name).to_pylist():
        place = f"{store.workspace.root}/{row['path']}"
        shard = ShardFiles(place, row["sha256"]).open()
        images += shard.image_ids.tolist()
        words = shard.words_of(np.arange(len(shard.codes))).tolist()
        for word, ordinal, code in zip(words, shard.ordinals, shard.codes, strict=True):
            found.setdefault((word, int(shard.image_ids[ordinal])), []).append(bytes(code))
    return found, images


def test_entries_are_those_of_the_kernel_whether_keypoints_were_stored_or_not(store, built):
    codebook = codebook_of(store)
    kept = store.reader.read(LOCAL_DESCRIPTORS, "whole").sort_by("image_id")
    offsets, _, vectors = join_features(kept, "float16")
    expected = {}
    for i, image in enumerate(kept["image_id"].to_pylist()):
        X = vectors[offsets[i] : offsets[i + 1]].astype("f4")
        words, codes = aggregate_image(X, assign(X, codebook), codebook)
        expected |= {(w, image): bytes(c) for w, c in zip(words.tolist(), codes, strict=True)}
    assert len(kept) == 6
    assert entries_of(store, "whole") == expected
    shards, images = shards_of(store, "whole")
    assert shards == {key: [code] for key, code in expected.items()}
    assert sorted(images) == kept["image_id"].to_pylist()


def test_weights_and_norms_are_those_of_the_definition(store, built):
    entries = entries_of(store, "whole")
    ids = store.reader.read(IMAGE_STATS, "whole")["image_id"].to_pylist()
    sets = [{w: [1] for w, i in entries if i == image} for image in ids]
    weights = oracles.weigh(sets, K)
    for row in store.reader.read(WORD_STATS, "whole").to_pylist():
        assert row["n_images"] == sum(row["word_id"] in image for image in sets)
        assert row["idf"] == pytest.approx(weights[row["word_id"]], abs=1e-12)
    for row in store.reader.read(IMAGE_STATS, "whole").to_pylist():
        own = sum(weights[w] for w, i in entries if i == row["image_id"])
        assert row["norm"] == pytest.approx(own**-0.5 if own else 0)
        assert (row["status"], row["n_keypoints"]) == ("ok", 30)


def test_the_summary_tells_what_an_image_takes(store, built):
    rows = store.reader.read(SHARDS, "whole").to_pylist()
    n_bytes, n_entries = (sum(row[name] for row in rows) for name in ("n_bytes", "n_entries"))
    assert built.notes["entries"] == n_entries == len(entries_of(store, "whole"))
    assert built.notes["bytes_per_image"] == pytest.approx(n_bytes / 6, abs=0.1)
    assert [built.notes[name] for name in ("n_probes", "agreement", "checked")] == [0, 1.0, 0]
    written = Path(store.workspace.root, "shards", f"shards-{built.build_id}").rglob("*.npy")
    assert n_bytes == sum(file.stat().st_size for file in written)
    assert [row["first_ordinal"] for row in rows] == np.cumsum([0, *(r["n_images"] for r in rows)])[
        :-1
    ].tolist()


def test_nothing_new_is_nothing_to_do(store, built):
    conf = IndexConfig(chunk_size=3, keep_local="all", shard_images=99)
    assert build(store, conf, Options(name="whole")).state == "unchanged"


def test_the_index_is_searched_without_spark_right_after_the_build(store, built):
    opened = resight.open(store.workspace.root)
    ids = store.reader.read(IMAGES)["image_id"].to_pylist()
    found = opened.search(ids, method="asmk", depth=2).results.to_pylist()
    assert len(found) == 2 * len(ids)
    assert all(row["image_id"] != ids[row["query"]] for row in found)


def test_entries_without_aggregation_hold_every_descriptor(store, built):
    build(store, IndexConfig(aggregate=False, alpha=2.0), Options(name="smk"))
    codebook, once, every = codebook_of(store), entries_of(store, "whole"), entries_of(store, "smk")
    assert every.keys() == once.keys()
    width = len(next(iter(once.values())))
    assert sum(map(len, every.values())) == 6 * 30 * width
    assert {key: b"".join(codes) for key, codes in shards_of(store, "smk")[0].items()} == every
    weights = {row["word_id"]: row["idf"] for row in store.reader.read(WORD_STATS, "smk").to_pylist()}
    for row in store.reader.read(IMAGE_STATS, "smk").to_pylist():
        own = 0.0
        for word in {w for w, i in every if i == row["image_id"]}:
            codes = np.frombuffer(every[word, row["image_id"]], "u1").reshape(-1, width)
            signs = 2.0 * np.unpackbits(codes, axis=1, bitorder="little") - 1
            own += weights[word] * oracles.match(signs, signs / codebook.n_bits, 2.0, 0.0)
        assert row["norm"] == pytest.approx(own**-0.5)


def test_images_that_match_answer_by_common_codes(store, built):
    limits = {"across_tau": 0.05, "across_matches": 1}
    build(store, IndexConfig(across=True, **limits), Options(name="merged"))
    own = entries_of(store, "merged")
    assert own == entries_of(store, "whole")
    words, images = np.array([*own]).T
    codes = np.stack([np.frombuffer(code, "u1") for code in own.values()])
    merged = merge_entries(words, images, codes, n_bits=128, tau=0.05, min_matches=1)
    shards = shards_of(store, "merged")[0]
    assert shards == {key: [bytes(c)] for key, c in zip(own, merged, strict=True)}
    assert (merged != codes).any()
    check_ranked_by_common_codes(store, words, images, codes, merged)


def check_ranked_by_common_codes(store, words, images, codes, merged):
    """A query keeps its own codes and meets the common ones; norms are those of the images' words."""
    ids, owners = np.unique(images, return_inverse=True)
    stats = store.reader.read(IMAGE_STATS, "merged").sort_by("image_id")
    weights = np.zeros(K)
    for row in store.reader.read(WORD_STATS, "merged").to_pylist():
        weights[row["word_id"]] = row["idf"]
    own, base = Entries(words, owners, codes, 128), Entries(words, owners, merged, 128)
    found = resight.open(store.workspace.root, index="merged").search(ids, method="asmk", assignments=1)
    norms = stats["norm"].to_numpy()
    for row in found.results.to_pylist():
        raw = raw_scores(own.take(owners == row["query"]), base, weights, n_images=len(ids))
        at = int(np.searchsorted(ids, row["image_id"]))
        assert row["score"] == pytest.approx(norms[row["query"]] * norms[at] * raw[at], abs=1e-5)


@pytest.mark.parametrize(("aggregate", "values"), [(True, "float32"), (False, "float16")])
def test_unit_vectors_score_as_the_definition_by_the_job_and_without_spark(store, built, aggregate, values):
    name, variant = f"real-{values}", "asmk" if aggregate else "smk"
    build(store, IndexConfig(aggregate=aggregate, values=values, shard_images=4), Options(name=name))
    kept = store.reader.read(LOCAL_DESCRIPTORS, "whole").sort_by("image_id")
    offsets, _, vectors = join_features(kept, "float16")
    sets = [vectors[a:b].astype("f4") for a, b in itertools.pairwise(offsets)]
    C, ids = codebook_of(store).centroids, kept["image_id"].to_pylist()
    base = [oracles.describe(X, C, variant) for X in sets]
    weights = oracles.weigh(base, K)
    asked = [oracles.describe(X, C, variant, m=3) for X in sets]
    settings = {"method": "asmk", "depth": "all", "assignments": 3}
    found = resight.open(store.workspace.root, index=name).search(ids, **settings).results.to_pylist()
    assert len(found) == 30
    for row in found:
        expected = oracles.similarity(asked[row["query"]], base[ids.index(row["image_id"])], weights)
        assert row["score"] == pytest.approx(expected, abs=1e-5 if values == "float32" else 2e-3)
    search(store, SearchConfig(queries_from="collection", index=name, **settings))
    rows = store.reader.read(RESULTS).to_pylist()
    by_job = {(row["query_id"], row["image_id"]): row["score"] for row in rows}
    by_reader = {(ids[row["query"]], row["image_id"]): row["score"] for row in found}
    assert by_job == pytest.approx(by_reader, abs=1e-6)
    with pytest.raises(SettingError, match="method: hqe compares bits"):
        resight.open(store.workspace.root, index=name).search(ids[:1], method="hqe")


def test_a_damaged_shard_is_named_and_never_searched(store, built):
    build(store, IndexConfig(idf=False, alpha=2.5), Options(name="damaged"))
    path = store.reader.read(SHARDS, "damaged")["path"][0].as_py()
    file = Path(store.workspace.root, path, "codes.npy")
    data = file.read_bytes()
    ids = store.reader.read(IMAGES)["image_id"].to_pylist()
    for damaged in (data[:-1], data[:-1] + bytes([data[-1] ^ 1])):  # cut; one bit flipped
        file.write_bytes(damaged)
        with pytest.raises(CorruptShardError, match=path):
            resight.open(store.workspace.root, index="damaged").search(ids, method="asmk")
    n_runs = len(store.workspace.runs())
    with pytest.raises(Exception, match=f"CorruptShardError.*{path}"):
        search(store, SearchConfig(queries_from="collection", method="asmk", index="damaged"))
    assert len(store.workspace.runs()) == n_runs


def test_damaged_shards_are_written_again_by_the_next_build(store, built):
    conf, name = IndexConfig(idf=False, alpha=2.25, shard_images=2), Options(name="repaired")
    build(store, conf, name)
    first, second = (
        Path(store.workspace.root, path)
        for path in store.reader.read(SHARDS, "repaired")["path"].to_pylist()[:2]
    )
    before = shards_of(store, "repaired")
    Path(first, "ordinals.npy").unlink()
    ids = np.load(second / "image_ids.npy")
    ids[0] -= 1  # an id that is altered must not lose its image
    np.save(second / "image_ids.npy", ids)
    found = build(store, conf, name)
    assert (found.state, found.notes["damaged_shards"]) == ("committed", 2)
    after = shards_of(store, "repaired")
    assert after[0] == before[0] == {key: [code] for key, code in entries_of(store, "repaired").items()}
    assert sorted(after[1]) == sorted(before[1])
    assert build(store, conf, name).state == "unchanged"


@pytest.mark.parametrize("kind", ["weights", "vectors", "centroids"])
def test_damaged_norms_weights_and_codebooks_are_named_and_written_again(store, built, kind):
    conf, name = IndexConfig(idf=False, alpha=2.75), Options(name="norms")
    folder = Path(store.workspace.root, "shards", f"image_stats-{build(store, conf, name).build_id}")
    file = next(folder.rglob(f"{kind}-*.npy"))
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    ids = store.reader.read(IMAGES)["image_id"].to_pylist()
    with pytest.raises(CorruptShardError, match=file.name):
        resight.open(store.workspace.root, index="norms").search(ids, method="asmk")
    assert build(store, conf, name).state == "unchanged"
    assert file.read_bytes() == data
    assert resight.open(store.workspace.root, index="norms").search(ids, method="asmk").results


def test_a_collection_that_changed_equals_its_rebuild(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(index_job, "KEPT_RUNS", 1)
    store, photos = open_collection(spark, tmp_path), tmp_path / "photos"
    conf = IndexConfig(shard_images=3, keep_local=4)
    build(store, conf, Options(name="grown"))
    before = located(store, "grown")
    save_photo("coffee", photos / "new.jpg", side=140)
    save_photo("rocket", photos / "flower.jpg", side=120)
    (photos / "china.jpg").unlink()
    Image.new("RGB", (60, 60), "grey").save(photos / "empty.png")
    ingest(store, IngestConfig(source=str(photos)), ANY_LOSS)
    grown = build(store, conf, ANY_LOSS)
    assert (grown.name, grown.notes["chunks"]) == ("grown", {"computed": 1})
    after = located(store, "grown")
    folders = {path.parent for path in (tmp_path / "w/shards").glob("shards-*/**/*.npy")}
    assert folders == {tmp_path / "w" / path for path in after}
    assert len(list((tmp_path / "w/shards").glob("image_stats-*/*/*/index.json"))) == 1
    check_untouched(store, before, after)
    check_empty(store, after)
    build(store, msgspec.structs.replace(conf, alpha=2.0), Options(name="again"))
    same_index(store, "grown", "again")


def located(store, name):
    """Images of every shard, by its path."""
    paths = store.reader.read(SHARDS, name)["path"].to_pylist()
    return {path: np.load(f"{store.workspace.root}/{path}/image_ids.npy").tolist() for path in paths}


def check_untouched(store, before, after):
    """Shards without a changed image stay unless most of their images are gone, or they are small."""
    live = set(store.reader.read(IMAGE_STATS, "grown")["image_id"].to_pylist())
    uris = {row["image_id"]: row["uri"] for row in store.reader.read(IMAGES).to_pylist()}
    changed = frozenset(path for path, ids in before.items() if any(uris[i] == "flower.jpg" for i in ids))
    held = {path: len(ids) for path, ids in before.items()}
    left = {path: sum(i in live and uris[i] != "flower.jpg" for i in ids) for path, ids in before.items()}
    rewritten = choose_rewritten(left, held, 3, limit=3, outdated=changed)
    assert {path for path in before if path not in after} == rewritten


def check_empty(store, shards):
    """An image without keypoints is indexed, counts in N and scores nothing."""
    names = {row["uri"]: row["image_id"] for row in store.reader.read(IMAGES).to_pylist()}
    stats = {row["image_id"]: row for row in store.reader.read(IMAGE_STATS, "grown").to_pylist()}
    row = stats[names["empty.png"]]
    assert (row["n_keypoints"], row["n_words"], row["norm"], row["status"]) == (0, 0, 0.0, "ok")
    assert sum(names["empty.png"] in ids for ids in shards.values()) == 1
    words = store.reader.read(WORD_STATS, "grown").to_pylist()
    assert all(w["idf"] == pytest.approx(np.log(len(stats) / w["n_images"]) ** 2) for w in words)


def same_index(store, a, b):
    assert entries_of(store, a) == entries_of(store, b)
    for table, key in ((WORD_STATS, "word_id"), (IMAGE_STATS, "image_id")):
        first, second = (store.reader.read(table, name).sort_by(key) for name in (a, b))
        assert first.equals(second)
    kept = [store.reader.read(LOCAL_DESCRIPTORS, name).sort_by("image_id") for name in (a, b)]
    assert kept[0].equals(kept[1])
    live = set(store.reader.read(IMAGE_STATS, a)["image_id"].to_pylist())
    found = [
        {key: codes for key, codes in shards_of(store, name)[0].items() if key[1] in live} for name in (a, b)
    ]
    assert found[0] == found[1]
    images = [i for i in shards_of(store, a)[1] if i in live]
    assert sorted(images) == sorted(live)


def test_scores_over_shards_are_those_of_the_kernel(store, built):
    shards, images = shards_of(store, "whole")
    ids = sorted(images)
    words, owners = np.array([*shards]).T
    codes = np.stack([np.frombuffer(codes[0], "u1") for codes in shards.values()])
    base = Entries(words, np.searchsorted(ids, owners), codes, 128)
    stats = store.reader.read(IMAGE_STATS, "whole").sort_by("image_id")
    weights = np.zeros(K)
    for row in store.reader.read(WORD_STATS, "whole").to_pylist():
        weights[row["word_id"]] = row["idf"]
    norms = stats["norm"].to_numpy()
    for i in range(6):
        raw = raw_scores(base.take(base.owners == i), base, weights, n_images=6)
        assert (norms * raw * norms[i])[i] == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_local": 0}, "keep_local: none, all, or a number from 1"),
        ({"keep_local": "some"}, "keep_local: .*allowed: .*none, all"),
        ({"across": True, "aggregate": False}, "across: only of aggregated codes"),
        ({"tau": 1.0}, "tau: "),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        IndexConfig.from_mapping(settings)


def test_a_codebook_says_how_its_descriptors_were_made(store):
    codebook = codebook_of(store)
    assert json.loads(codebook.settings)["max_keypoints"] == 30
    assert (codebook.dtype, codebook.k, codebook.d) == ("float16", K, 128)
