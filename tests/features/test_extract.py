"""A chunk of files to vectors: bad photos are rows, batching and threads change nothing."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import skimage
import torch

from resight.features import extract
from resight.features.backbones import load_backbone
from resight.features.describe import Described
from resight.features.extract import batches_by_shape, extract_contents, map_ahead
from resight.features.pooling import gem, normalize
from resight.features.settings import ExtractSettings
from resight.features.whitening import CovarianceSums, Whitening, fit_pca_whitening

SMALL = ExtractSettings(longer_side=96)
DATA = Path(skimage.__file__).parent / "data"


def encode(pixels):
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def photo_pixels(name):
    return cv2.imread(str(DATA / name))[..., ::-1]


@pytest.fixture(scope="module")
def contents():
    """Nine files: photos of four shapes, among them what cannot be described."""
    names = ["coffee.png", "chelsea.png", "astronaut.png", "rocket.jpg"]
    photos = [(DATA / name).read_bytes() for name in names]
    cut = [encode(photo_pixels(name)[:200, :300]) for name in names[:3]]
    return [*photos[:2], None, *cut, b"no image", *photos[2:]]


def cosines(a, b):
    return (a.astype(np.float64) * b).sum(1)


def test_every_photo_has_a_row_and_bad_ones_say_why(contents):
    vectors, status, error, _ = extract_contents(contents, SMALL, device="cpu")
    assert vectors.shape == (9, 1280)
    assert vectors.dtype == np.float32
    bad = {2: "missing", 6: "undecodable"}
    assert status == [bad.get(i, "ok") for i in range(9)]
    assert [i for i, text in enumerate(error) if text] == list(bad)
    norms = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(norms, [i not in bad for i in range(9)], atol=1e-6)


def test_one_photo_equals_the_definition_written_out():
    pixels = photo_pixels("coffee.png")
    small = cv2.resize(pixels, (96, 64), interpolation=cv2.INTER_AREA)
    maps = load_backbone(SMALL, device="cpu").maps(small[None].copy())[0]
    settings = msgspec.structs.replace(SMALL, pooling="gem")
    vectors, *_ = extract_contents([encode(pixels)], settings, device="cpu")
    np.testing.assert_allclose(vectors, normalize(gem(maps, 3.0)), atol=1e-6)


@pytest.mark.parametrize("changes", [{"batch_pixels": 1}, {"held_pixels": 1}, {}])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_batching_and_threads_change_no_descriptor(contents, changes, n_threads):
    expected = extract_contents(contents, SMALL, device="cpu")
    settings = msgspec.structs.replace(SMALL, **changes)
    got = extract_contents(contents, settings, n_threads=n_threads, device="cpu")
    assert got.status == expected.status
    fine = [s == "ok" for s in got.status]
    assert cosines(got.vectors, expected.vectors)[fine].min() > 1 - 1e-6


def test_the_same_chunk_gives_the_same_bytes(contents):
    first, second = (extract_contents(contents, SMALL, device="cpu").vectors for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_order_of_photos_changes_no_descriptor(contents):
    forward = extract_contents(contents, SMALL, device="cpu")
    backward = extract_contents(contents[::-1], SMALL, device="cpu")
    fine = [s == "ok" for s in forward.status]
    assert cosines(forward.vectors, backward.vectors[::-1])[fine].min() > 1 - 1e-6


@pytest.mark.parametrize("pooling", ["mean", "gem"])
def test_several_sizes_pool_their_single_vectors(contents, pooling):
    several = msgspec.structs.replace(SMALL, pooling="gem", scales=(1.0, 0.75), scale_pooling=pooling)
    single = [msgspec.structs.replace(SMALL, pooling="gem", longer_side=s) for s in (96, 72)]
    contents = contents[:6]  # a JPEG's decoder may depend on the largest size
    V = np.stack([extract_contents(contents, s, device="cpu").vectors for s in single])
    p = 3 if pooling == "gem" else 1
    expected = (V.astype(np.float64) ** p).mean(0) ** (1 / p)
    got = extract_contents(contents, several, device="cpu")
    fine = [s == "ok" for s in got.status]
    norms = np.linalg.norm(expected[fine], axis=1)
    np.testing.assert_allclose(cosines(got.vectors[fine], expected[fine]) / norms, 1, atol=1e-6)


def test_sizes_that_come_out_equal_are_described_once():
    settings = ExtractSettings(scales=(1.0, 2.0, 0.25), enlarge=False)
    sizes = extract.scale_photo(np.zeros((60, 100, 3), np.uint8), settings)
    assert {k: v.shape for k, v in sizes.items()} == {(0, 1): (60, 100, 3), (2,): (38, 64, 3)}


def test_small_photos_grow_unless_told_not_to():
    pixels = np.zeros((30, 40, 3), np.uint8)
    grown = extract.scale_photo(pixels, ExtractSettings(longer_side=80))
    assert grown[(0,)].shape == (60, 80, 3)
    assert extract.scale_photo(pixels, ExtractSettings(longer_side=80, enlarge=False))[(0,)] is pixels


def test_whitening_is_applied_to_the_vectors(contents):
    raw = extract_contents(contents, SMALL, device="cpu")
    fine = [s == "ok" for s in raw.status]
    sums = CovarianceSums.of_rows(raw.vectors[fine])
    whitening, _ = fit_pca_whitening(sums, dims=4, power=0.3)
    got = extract_contents(contents, SMALL, whitening=[whitening], device="cpu")
    np.testing.assert_allclose(got.vectors[fine], whitening.apply(raw.vectors[fine]), atol=1e-6)
    assert got.vectors[2].tolist() == [0, 0, 0, 0]
    assert got.status == raw.status


def test_whitenings_are_applied_one_after_the_other(contents, rng):
    chain = [Whitening(rng.normal(size=d) * 0.01, rng.normal(size=(d, D))) for d, D in ((1280, 9), (9, 3))]
    raw = extract_contents(contents[:1], SMALL, device="cpu").vectors
    got = extract_contents(contents[:1], SMALL, whitening=chain, device="cpu").vectors
    np.testing.assert_allclose(got, chain[1].apply(chain[0].apply(raw)), atol=1e-5)
    settings = msgspec.structs.replace(SMALL, whiten_regions=True)
    first = extract_contents(contents[:1], settings, whitening=chain[:1], device="cpu").vectors
    both = extract_contents(contents[:1], settings, whitening=chain, device="cpu").vectors
    np.testing.assert_allclose(both, chain[1].apply(first), atol=1e-5)


def test_whitened_regions_are_no_whitened_vectors(contents, rng):
    settings = msgspec.structs.replace(SMALL, whiten_regions=True)
    turn, _ = np.linalg.qr(rng.normal(size=(1280, 8)))
    for mean, same in ((np.zeros(1280), True), (np.full(1280, 0.02), False)):
        whitening = Whitening(mean, np.eye(1280) if same else turn)
        regions = extract_contents(contents[:1], settings, whitening=[whitening], device="cpu")
        vectors = extract_contents(contents[:1], SMALL, whitening=[whitening], device="cpu")
        assert (cosines(regions.vectors, vectors.vectors)[0] > 1 - 1e-6) == same


def test_regions_cannot_be_whitened_without_a_whitening(contents):
    settings = msgspec.structs.replace(SMALL, whiten_regions=True)
    with pytest.raises(ValueError, match="whiten_regions: no whitening"):
        extract_contents(contents, settings, device="cpu")


def test_a_box_equals_its_cut_out():
    pixels = photo_pixels("coffee.png")
    files, boxes = [encode(pixels)] * 3, [(50, 80, 250, 380), None, (500, 700, 900, 900)]
    got = extract_contents(files, SMALL, boxes=boxes, device="cpu")
    cut = extract_contents([encode(pixels[50:250, 80:380]), files[0]], SMALL, device="cpu")
    assert cosines(got.vectors[:2], cut.vectors).min() > 1 - 1e-6
    assert got.status == ["ok", "ok", "empty_box"]


def test_zero_and_nan_descriptors_have_their_status(monkeypatch, contents):
    class Odd:
        batch_pixels, ahead = 1, False
        rows = iter([[np.nan, 1], [0, 0], [0.6, 0.8]])

        def describe(self, pixels):
            return Described(np.array([next(self.rows)], np.float32))

    monkeypatch.setattr(extract, "build_describer", lambda *_, **__: Odd())
    vectors, status, error, _ = extract_contents(contents[3:6], SMALL)
    assert status == ["nan", "zero", "ok"]
    assert vectors.tolist()[:2] == [[0, 0], [0, 0]]
    assert error[2] is None


def test_too_many_pixels_are_not_decoded(contents):
    settings = msgspec.structs.replace(SMALL, max_pixels=70_000)
    assert extract_contents(contents[2:4], settings, device="cpu").status == ["missing", "ok"]
    assert extract_contents(contents[:1], settings, device="cpu").status == ["too_large"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 3)])
def test_extreme_shapes_fail_nothing(shape):
    file = encode(np.full((*shape, 3), 90, np.uint8))
    for settings in (SMALL, ExtractSettings(extractor="colour")):
        vectors, status, *_ = extract_contents([file], settings, device="cpu")
        assert status[0] in ("ok", "zero")  # a network sees nothing in a single pixel
        assert np.isfinite(vectors).all()


def test_an_empty_chunk_and_a_chunk_without_photos_keep_their_shape():
    assert extract_contents([], SMALL, device="cpu").vectors.shape == (0, 1280)
    assert extract_contents([None, b""], SMALL, device="cpu").vectors.shape == (2, 1280)


def test_colour_needs_no_network(contents):
    got = extract_contents(contents, ExtractSettings(extractor="colour"))
    assert got.vectors.shape == (9, 864)
    assert got.status.count("ok") == 7


def test_batches_hold_one_shape_each_photo_once_and_stay_in_their_limits(rng):
    shapes = [(4, 6), (6, 4), (5, 5)]
    photos = [((i, (0,)), np.full((*shapes[rng.integers(3)], 3), i, np.uint8)) for i in range(50)]
    batches = list(batches_by_shape(photos, batch_pixels=100, held_pixels=150))
    assert sorted(slot[0] for slots, _ in batches for slot in slots) == list(range(50))
    for slots, pixels in batches:
        assert pixels.shape[1] * pixels.shape[2] * len(slots) <= 100
        assert [int(p[0, 0, 0]) for p in pixels] == [i for i, _ in slots]


@pytest.mark.parametrize("n_threads", [0, 1, 3])
def test_work_ahead_keeps_the_order(n_threads):
    assert list(map_ahead(lambda i: i * i, range(40), n_threads=n_threads)) == [i * i for i in range(40)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_a_gpu_agrees_with_the_cpu(contents):
    cpu = extract_contents(contents, SMALL, device="cpu")
    gpu = extract_contents(contents, SMALL, device="cuda")
    fine = [s == "ok" for s in cpu.status]
    assert gpu.status == cpu.status
    assert cosines(cpu.vectors, gpu.vectors)[fine].min() > 0.9999
