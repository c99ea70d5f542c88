"""Whitenings: fitted on a part of the collection, on matching pairs, elsewhere, and one after the other."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.arrow import arrow_to_vectors
from resight.codebook.kmeans import fit_centroids, sum_points
from resight.codebook.model import Codebook
from resight.codebook.sample import choose_starts, draw_descriptors
from resight.commands import drop_build
from resight.config import SettingError
from resight.features.local.points import join_features
from resight.features.whitening import (
    CovarianceSums,
    Whitening,
    fit_learned_whitening,
    fit_pca_whitening,
    pair_sums,
)
from resight.job import Options
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.jobs.extract_local_features import main as extract_local
from resight.jobs.fit_model import FitConfig
from resight.jobs.fit_model import main as fit
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.store import TableStore
from resight.tables import (
    GLOBAL_DESCRIPTORS,
    IMAGES,
    LOCAL_DESCRIPTORS,
    MODELS,
    REGION_DESCRIPTORS,
    RESULTS,
)
from resight.workspace import Workspace
from tests.pictures import save_collection

TRAIN = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = save_collection(tmp_path_factory.mktemp("photos"))
    rows = [
        f"{file.name},{'train' if file.stem in TRAIN else 'test'}" for file in sorted(folder.glob("*.jpg"))
    ]
    (folder / "photos.csv").write_text("\n".join(["uri,split", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def store(spark, photos, tmp_path_factory):
    store = TableStore(Workspace.open(str(tmp_path_factory.mktemp("w")), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(photos / "photos.csv")))
    extract(store, ExtractConfig(extractor="colour", dtype="float32"), Options(name="raw"))
    return store


def model(store, build):
    return Whitening.from_bytes(store.reader.read(MODELS, build)["params"][0].as_py())


def vectors_by_name(store, build):
    images = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    names = {row["image_id"]: row["uri"].removesuffix(".jpg") for row in images}
    rows = store.reader.read(GLOBAL_DESCRIPTORS, build)
    X = arrow_to_vectors(rows["vector"], store.properties(GLOBAL_DESCRIPTORS, build)["dtype"])
    return {names[i]: x for i, x in zip(rows["image_id"].to_pylist(), X, strict=True)}


def test_only_the_images_of_a_split_are_fitted_on(store):
    conf = FitConfig(descriptors="raw", dims=2, only=("split=train",))
    outcome = fit(store, conf, Options(name="inductive"))
    X = np.stack([x for name, x in vectors_by_name(store, "raw").items() if name in TRAIN])
    expected, _ = fit_pca_whitening(CovarianceSums.of_rows(X), dims=2, power=0.3)
    assert outcome.notes["sample"] == len(TRAIN)
    found = model(store, "inductive")
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-6)
    np.testing.assert_allclose(found.projection, expected.projection, rtol=1e-3, atol=1e-3)
    assert fit(store, FitConfig(descriptors="raw", dims=2), Options(name="all")).notes["sample"] == 6


def test_more_dimensions_than_there_are_is_a_warning(store, caplog):
    outcome = fit(store, FitConfig(descriptors="raw", dims=5000))
    d = len(vectors_by_name(store, "raw")["coffee"])
    assert (outcome.name, outcome.notes["dims"]) == ("pca5000", d)
    assert f"fit-model: --dims 5000: there are only {d}, all are kept" in caplog.text


def test_a_split_that_no_image_has_is_an_error(store):
    with pytest.raises(SettingError, match="--only: no image with a descriptor has split=lost"):
        fit(store, FitConfig(descriptors="raw", only=("split=lost",)), Options(name="lost"))


def test_query_images_follow_a_chain_of_whitenings(store, photos):
    rng = np.random.default_rng(0)
    fit(store, FitConfig(descriptors="raw", dims=5, power=0.0), Options(name="five"))
    extract(store, ExtractConfig(descriptors="raw", whitening="five", dtype="float32"), Options(name="w5"))
    file = photos / "turn.npz"
    np.savez(file, mean=rng.normal(size=5) * 0.1, projection=rng.normal(size=(5, 4)))
    outcome = fit(store, FitConfig(kind="file", file=str(file), descriptors="w5"))
    assert (outcome.name, outcome.notes["dims"]) == ("turn", 4)
    extract(store, ExtractConfig(descriptors="w5", whitening="turn", dtype="float32"), Options(name="w4"))
    search(store, SearchConfig(queries=str(photos / "*.jpg"), descriptors="w4", depth=1))
    rows = store.reader.read(RESULTS).to_pylist()
    assert len(rows) == 6
    assert len({row["image_id"] for row in rows}) == 6
    assert all(row["score"] == pytest.approx(1, abs=1e-4) for row in rows)


SMALL = {"longer_side": 96, "dtype": "float32"}


@pytest.fixture(scope="module")
def regional(store):
    """Region vectors by image, and the build of a whitening fitted on them."""
    with pytest.raises(SettingError, match=r"--descriptors: .*\(resight extract-features --regions"):
        fit(store, FitConfig(on="regions", descriptors="raw"))
    extract(store, ExtractConfig(regions=True, **SMALL), Options(name="regional"))
    rows = store.reader.read(REGION_DESCRIPTORS, "regional").sort_by("region_ix")
    owner = rows["image_id"].to_numpy()
    X = arrow_to_vectors(rows["vector"], "float32")
    outcome = fit(store, FitConfig(on="regions", descriptors="regional", dims=40, power=1.0))
    assert (outcome.name, outcome.notes["sample"]) == ("pca40-regions", len(X))
    return {image: X[owner == image] for image in np.unique(owner).tolist()}


def test_training_regions_after_full_whitening_have_mean_zero_and_covariance_one(store, regional):
    X = np.concatenate([*regional.values()]).astype("f8")
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, atol=1e-5)
    whitening = model(store, "pca40-regions")
    Y = (X - whitening.mean) @ whitening.projection
    np.testing.assert_allclose(Y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(Y.T @ Y / len(Y), np.eye(40), atol=1e-6)


def test_every_region_is_whitened_before_the_sum(store, regional):
    conf = ExtractConfig(whiten_regions=True, whitening="pca40-regions", **SMALL)
    extract(store, conf, Options(name="whitened"))
    rows = store.reader.read(GLOBAL_DESCRIPTORS, "whitened")
    found = arrow_to_vectors(rows["vector"], "float32")
    apply = model(store, "pca40-regions").apply
    sums = np.stack([apply(regional[image]).sum(0) for image in rows["image_id"].to_pylist()])
    np.testing.assert_allclose(found, sums / np.linalg.norm(sums, axis=1, keepdims=True), atol=1e-4)


def test_only_the_regions_of_a_split_are_fitted_on(store, regional):
    conf = FitConfig(on="regions", descriptors="regional", dims=4, only=("split=train",))
    images = store.reader.read(IMAGES).to_pylist()
    train = [row["image_id"] for row in images if row["uri"].removesuffix(".jpg") in TRAIN]
    assert fit(store, conf).notes["sample"] == sum(len(regional[image]) for image in train)


@pytest.fixture(scope="module")
def imported(spark, tmp_path_factory):
    """Forty objects, two vectors each, that differ in three noisy dimensions."""
    folder, rng = tmp_path_factory.mktemp("vectors"), np.random.default_rng(1)
    X = (
        np.repeat(rng.normal(size=(40, 8)), 2, axis=0)
        + rng.normal(size=(80, 8)) * np.r_[[3.0] * 3, [0.1] * 5]
    )
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype("f4")
    pq.write_table(pa.table({"uri": [f"{i}" for i in range(80)], "vector": X.tolist()}), folder / "v.parquet")
    rows = [f"{2 * i},{2 * i + 1}" for i in range(20)]
    (folder / "pairs.csv").write_text("\n".join(["uri_a,uri_b", *rows, "0,absent"]) + "\n")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(folder / "v.parquet"), kind="vectors"))
    source = ImportConfig(source=str(folder / "v.parquet"), dtype="float32")
    import_descriptors(store, source, Options(name="v"))
    return store, X, folder


def test_learned_whitening_is_that_of_the_pairs_and_is_applied_like_any_other(imported):
    store, X, folder = imported
    outcome = fit(store, FitConfig(kind="learned", dims=5, pairs=str(folder / "pairs.csv")))
    assert (outcome.name, outcome.notes["pairs"], outcome.notes["sample"]) == ("learned5", 20, 80)
    pairs = np.arange(40).reshape(20, 2)
    expected, _ = fit_learned_whitening(pair_sums(X, pairs), CovarianceSums.of_rows(X), dims=5)
    np.testing.assert_allclose(model(store, "learned5").projection, expected.projection, rtol=1e-3, atol=1e-3)
    extract(store, ExtractConfig(descriptors="v", whitening="learned5", dtype="float32"), Options(name="w"))
    found, raw = vectors_by_name(store, "w"), vectors_by_name(store, "v")

    def hits(V):
        S = np.stack([V[str(i)] for i in range(80)])
        S = S @ S.T - 9 * np.eye(80)
        return (S.argmax(1) == np.arange(80) ^ 1)[40:].mean()

    np.testing.assert_allclose(found["7"], expected.apply(X[7:8])[0], atol=1e-4)
    assert hits(found) > hits(raw) + 0.3


def test_other_pairs_are_another_model_and_useless_ones_are_named(imported):
    store, _, folder = imported
    file = folder / "more.csv"
    file.write_text("image_a,image_b\n1,2\n")
    with pytest.raises(SettingError, match="--pairs: there is no usable descriptor"):
        fit(store, FitConfig(kind="learned", pairs=str(file)))
    builds = set()
    for text in ("uri_a,uri_b\n0,1\n2,3\n", "uri_a,uri_b\n4,5\n6,7\n"):
        file.write_text(text)
        builds.add(fit(store, FitConfig(kind="learned", dims=4, pairs=str(file))).build_id)
    assert len(builds) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "learned"}, "pairs: --kind learned, and only it"),
        ({"kind": "learned", "pairs": "a", "duplicates": "b"}, "one of them"),
        ({"pairs": "a.csv"}, "pairs: --kind learned, and only it"),
        ({"kind": "file"}, "file: --kind file, and only it"),
        ({"kind": "file", "file": "w.npz", "on": "regions"}, "on: regions only with --kind pca"),
        ({"only": ["split"]}, "only: 'split' is not of the form"),
        ({"kind": "codebook", "bits": 64}, "bits: only with --binarization medians"),
        ({"kind": "codebook", "only": ["split=train"]}, "only: for keypoints, extract-local-features"),
        ({"on": "keypoints", "only": ["split=train"]}, "only: for keypoints, extract-local-features"),
        ({"kind": "codebook", "on": "keypoints"}, "on: keypoints only with --kind pca"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        FitConfig.from_mapping(settings)


def test_files_are_checked_before_anything_is_fitted(imported):
    store, _, folder = imported
    with pytest.raises(SettingError, match=r"--pairs: .*absent\.csv"):
        fit(store, FitConfig(kind="learned", pairs=str(folder / "absent.csv")))
    (folder / "columns.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SettingError, match=r"--pairs: .*columns\.csv: its columns are a, b"):
        FitConfig(kind="learned", pairs=str(folder / "columns.csv")).check()
    (folder / "text.npz").write_text("no arrays")
    with pytest.raises(SettingError, match=r"--file: .*text\.npz: not a npz archive"):
        FitConfig(kind="file", file=str(folder / "text.npz")).check()
    np.savez(folder / "long.npz", mean=np.zeros(9), projection=np.eye(9))
    with pytest.raises(SettingError, match="--file: for 9 dimensions, the descriptors have 8"):
        fit(store, FitConfig(kind="file", descriptors="v", file=str(folder / "long.npz")))


@pytest.fixture(scope="module")
def local(store):
    """Keypoints of the photos, as (image ids, descriptors of each)."""
    extract_local(store, ExtractLocalConfig(min_side=0, max_keypoints=50), Options(name="sift"))
    rows = store.reader.read(LOCAL_DESCRIPTORS, "sift").sort_by("image_id")
    offsets, _, X = join_features(rows, "float16")
    ids = rows["image_id"].to_pylist()
    return {i: X[a:b].astype("f4") for i, a, b in zip(ids, offsets, offsets[1:], strict=False)}


def codebook(store, name):
    return Codebook.from_bytes(store.reader.read(MODELS, name)["params"][0].as_py())


def fit_densely(local, k, n_iter):
    X = np.concatenate(list(local.values()))
    draws = np.concatenate([draw_descriptors(image, len(own), 0) for image, own in local.items()])
    start = choose_starts(draws, X, k)
    return fit_centroids(lambda quantizer: sum_points(X, quantizer), start, n_iter=n_iter, sample=X)


def test_a_codebook_is_that_of_k_means_on_one_machine_or_on_tasks(store, local):
    settings = {"kind": "codebook", "local": "sift", "words": 10, "iterations": 3}
    first = fit(store, FitConfig(**settings))
    here = codebook(store, "codebook10")
    drop_build(store.workspace, "codebook10", "file")
    again = fit(store, FitConfig(**settings, fit_memory=1e-9))
    there = codebook(store, "codebook10")
    assert (first.notes["path"], again.notes["path"]) == ("local", "tasks")
    np.testing.assert_array_equal(here.centroids, there.centroids)
    expected = fit_densely(local, 10, 3)
    np.testing.assert_allclose(here.centroids, expected.centroids, atol=1e-5)
    np.testing.assert_allclose(first.notes["errors"], expected.errors, rtol=1e-6)
    assert (first.notes["sample"], first.notes["agreement"]) == (sum(map(len, local.values())), 1.0)
    assert (here.projection, here.dtype, here.n_bits) == (None, "float16", 128)


def test_a_codebook_with_medians_halves_its_descriptors(store, local):
    settings = {"kind": "codebook", "local": "sift", "words": 5, "binarization": "medians", "bits": 32}
    assert fit(store, FitConfig(**settings)).name == "codebook5-medians"
    fitted = codebook(store, "codebook5-medians")
    X = np.concatenate(list(local.values()))
    words = fitted.quantizer.assign(X)[:, 0]
    for word in range(5):
        ones = (X[words == word] @ fitted.projection.T >= fitted.medians[word] - 1e-6).sum(0)
        assert (np.abs(ones - (words == word).sum() / 2) <= 1).all()


def test_activations_after_full_whitening_have_mean_zero_and_covariance_one(store):
    how = {"extractor": "how", "scales": (1.0,), "max_keypoints": 60, "min_side": 0, "max_side": 160}
    extract_local(store, ExtractLocalConfig(**how, dtype="float32"), Options(name="how"))
    outcome = fit(store, FitConfig(on="keypoints", local="how", dims=20, power=1.0))
    assert outcome.name == "pca20-keypoints"
    conf = ExtractLocalConfig(**how, whitening="pca20-keypoints", dtype="float32")
    extract_local(store, conf, Options(name="how20"))
    X, Y = (join_features(store.reader.read(LOCAL_DESCRIPTORS, n), "float32")[2] for n in ("how", "how20"))
    assert (outcome.notes["sample"], Y.shape) == (len(X), (len(X), 20))
    np.testing.assert_allclose(Y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(Y.T.astype("f8") @ Y / len(Y), np.eye(20), atol=1e-2)


def test_a_model_that_is_no_whitening_or_of_other_dimensions_is_refused(store, local):
    fit(store, FitConfig(kind="codebook", local="sift", words=3, iterations=1), Options(name="words"))
    fit(store, FitConfig(descriptors="raw", dims=5, power=0.0), Options(name="five"))
    extract(store, ExtractConfig(descriptors="raw", whitening="five", dtype="float32"), Options(name="w5"))
    fit(store, FitConfig(descriptors="w5", dims=2), Options(name="of five"))
    colour = {"extractor": "colour", "longer_side": 96}
    for name, message in (
        ("words", "--whitening: 'words', made by fit-model, holds no whitening"),
        ("of five", r"--whitening: 'of five' is for 5 dimensions, the .* have 864"),
    ):
        for conf in (
            ExtractConfig(descriptors="raw", whitening=name),
            ExtractConfig(whitening=name, **colour),
        ):
            with pytest.raises(SettingError, match=message):
                extract(store, conf)
    with pytest.raises(SettingError, match="is for 5 dimensions, the vectors to whiten have 1280"):
        extract(store, ExtractConfig(whitening="of five", longer_side=96))


def test_more_words_than_descriptors_is_a_warning_and_more_bits_than_dimensions_an_error(
    store, local, caplog
):
    outcome = fit(
        store, FitConfig(kind="codebook", local="sift", words=10_000, points_per_word=1, iterations=1)
    )
    n = sum(map(len, local.values()))
    assert (outcome.notes["words"], codebook(store, outcome.name).k) == (n, n)
    assert f"fit-model: --words 10000: there are only {n} descriptors" in caplog.text
    with pytest.raises(SettingError, match="--bits: 129, the descriptors have 128 dimensions"):
        fit(store, FitConfig(kind="codebook", local="sift", words=5, binarization="medians", bits=129))


@pytest.mark.parametrize(
    ("vectors", "words"), [([[1.0, 2.0]], "two vectors at least, got 1"), ([[0.3, 0.1]] * 3, "that differ")]
)
def test_vectors_that_span_nothing_are_an_error(spark, tmp_path, vectors, words):
    file = tmp_path / "v.parquet"
    pq.write_table(pa.table({"uri": [f"{i}" for i in range(len(vectors))], "vector": vectors}), file)
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(file), kind="vectors"))
    import_descriptors(store, ImportConfig(source=str(file)))
    with pytest.raises(SettingError, match=f"--descriptors: a whitening needs .*{words}"):
        fit(store, FitConfig(dims=1))


def test_settings_of_other_kinds_do_not_change_a_model():
    plain, words = FitConfig(dims=4), FitConfig(kind="codebook")
    assert plain.digest == FitConfig(dims=4, words=7, iterations=2).digest
    assert words.digest == FitConfig(kind="codebook", dims=4, power=0.5).digest
    assert words.digest != FitConfig(kind="codebook", words=5).digest
