"""A chunk of files to features: places in the original photo, boxes, bad files, determinism."""

import cv2
import msgspec
import numpy as np
import pytest

from resight.features.local.extract import extract_local
from resight.features.local.settings import LocalSettings
from tests.features.local.photo_files import FLAT, encode, matches, photo_pixels

SIFT = LocalSettings(max_keypoints=300, min_side=0, max_side=512)
EXTRACTORS = ["rootsift", "xfeat", "how"]


def features_of(content, settings, **options):
    found = extract_local([content], settings, device="cpu", **options)
    assert found.status == ["ok"]
    return found.features[0]


def settings_of(extractor, **changes):
    values = {"extractor": extractor, "max_keypoints": 200, "min_side": 0, "max_side": 320}
    return LocalSettings(**values | {"scales": (1.0, 0.5)} | changes)


@pytest.fixture(scope="module")
def contents():
    photos = [encode(photo_pixels(name, side=300)) for name in ("coffee", "chelsea", "astronaut")]
    return [photos[0], None, photos[1], b"no image", FLAT, b"", photos[2]]


def test_root_sift_is_plain_opencv_on_a_photo_that_needs_no_scaling():
    pixels = photo_pixels("coffee", side=400)
    found = features_of(encode(pixels), LocalSettings(min_side=0, max_keypoints=100_000))
    sift = cv2.SIFT_create(contrastThreshold=0.01, edgeThreshold=12)
    keypoints, vectors = sift.detectAndCompute(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None)
    expected = {(*k.pt, k.angle): v for k, v in zip(keypoints, vectors, strict=True)}
    assert len(found.points) == len(keypoints) > 500
    got = np.stack([expected[float(x), float(y), float(a)] for x, y, _, a, _ in found.points])
    np.testing.assert_allclose(found.vectors**2, got / got.sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found.points[:, 4], sorted((k.response for k in keypoints), reverse=True))


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_fewer_keypoints_are_the_first_of_more(extractor):
    content = encode(photo_pixels("coffee", side=300))
    more = features_of(content, settings_of(extractor))
    few = features_of(content, settings_of(extractor, max_keypoints=40))
    assert (len(more.points) > 40, len(few.points)) == (True, 40)
    np.testing.assert_array_equal(few.points, more.points[:40])
    np.testing.assert_allclose(few.vectors, more.vectors[:40], atol=1e-5)
    assert (np.diff(more.points[:, 4]) <= 0).all()


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_threads_chunks_and_repetition_change_nothing(extractor, contents):
    settings = settings_of(extractor)
    first = extract_local(contents, settings, device="cpu")
    again = extract_local(contents, settings, device="cpu", n_threads=2)
    alone = [extract_local([content], settings, device="cpu") for content in contents]
    bad = ["ok", "missing", "ok", "undecodable", "ok", "empty", "ok"]
    assert first.status == again.status == [one.status[0] for one in alone] == bad
    assert [text is None for text in first.error] == [word == "ok" for word in bad]
    for a, b, c in zip(first.features, again.features, alone, strict=True):
        assert (a is None) == (b is None) == (c.features[0] is None)
        if a is not None:
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
            assert all(np.array_equal(x, y) for x, y in zip(a, c.features[0], strict=True))


@pytest.mark.parametrize(("extractor", "dims"), [("rootsift", 128), ("xfeat", 64)])
def test_a_flat_photo_has_no_keypoints_and_is_ok(extractor, dims):
    found = features_of(FLAT, settings_of(extractor))
    assert (found.points.shape, found.vectors.shape) == ((0, 5), (0, dims))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 300)])
@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_photos_of_a_few_pixels_are_described_or_empty(extractor, shape, rng):
    content = encode(rng.integers(0, 255, (*shape, 3), dtype=np.uint8))
    found = features_of(content, settings_of(extractor, min_side=64))
    assert np.isfinite(found.points).all()
    assert (found.points[:, :2] > -1).all()
    assert (found.points[:, :2] < [shape[1], shape[0]]).all()


@pytest.mark.parametrize("side", [200, 700])
def test_keypoints_of_an_enlarged_or_reduced_photo_lie_in_its_own_pixels(side):
    pixels = photo_pixels("coffee", side=400)
    other = cv2.resize(pixels, None, fx=side / 400, fy=side / 400, interpolation=cv2.INTER_AREA)
    settings = LocalSettings(min_side=400, max_side=400, max_keypoints=400)
    a, b = (features_of(encode(p), settings) for p in (pixels, other))
    rows, columns = matches(a, b)
    factor = np.array([other.shape[1] / pixels.shape[1], other.shape[0] / pixels.shape[0]])
    expected = (a.points[rows, :2] + 0.5) * factor - 0.5
    errors = np.linalg.norm(b.points[columns, :2] - expected, axis=1) / (side / 400)
    assert np.mean(errors < 1.5) > 0.7
    ratios = b.points[columns, 2] / a.points[rows, 2]
    assert abs(np.median(ratios) / (side / 400) - 1) < 0.05


def test_a_rotated_photo_has_the_same_keypoints_turned():
    pixels = photo_pixels("coffee", side=400)
    height = pixels.shape[0]
    a, b = (features_of(encode(p), SIFT) for p in (pixels, np.rot90(pixels, -1)))  # clockwise
    rows, columns = matches(a, b)
    expected = np.c_[height - 1 - a.points[rows, 1], a.points[rows, 0]]
    right = np.linalg.norm(b.points[columns, :2] - expected, axis=1) < 1.5
    assert right.mean() > 0.7
    turned = (b.points[columns, 3] - a.points[rows, 3])[right] % 360
    assert np.mean(np.abs(turned - 90) < 5) > 0.9


def test_a_jpeg_that_is_decoded_smaller_has_places_in_all_its_pixels():
    pixels = cv2.resize(photo_pixels("coffee", side=300), (1203, 801), interpolation=cv2.INTER_CUBIC)
    settings = LocalSettings(min_side=0, max_side=150, max_keypoints=200)
    jpeg, png = (features_of(encode(pixels, suffix), settings) for suffix in (".jpg", ".png"))
    rows, columns = matches(jpeg, png)
    errors = np.linalg.norm(jpeg.points[rows, :2] - png.points[columns, :2], axis=1)
    assert len(rows) > 30
    assert np.median(errors) < 4  # half a pixel of those in which they were found
    assert jpeg.points[:, 0].max() > 1000


def test_a_box_keeps_the_strongest_keypoints_strictly_inside():
    content = encode(photo_pixels("coffee", side=300))
    settings = msgspec.structs.replace(SIFT, max_keypoints=60)
    everything = features_of(content, msgspec.structs.replace(SIFT, max_keypoints=100_000))
    x, y = everything.points[:, 0], everything.points[:, 1]
    inside = (x > 100) & (x < 220) & (y > 40) & (y < 150)
    assert inside.sum() > 60
    found = features_of(content, settings, boxes=[(40, 100, 150, 220)])
    np.testing.assert_array_equal(found.points, everything.points[inside][:60])
    np.testing.assert_array_equal(found.vectors, everything.vectors[inside][:60])


def test_a_crop_is_a_photo_of_its_own():
    pixels = photo_pixels("coffee", side=300)
    settings = LocalSettings(box_mode="crop", min_side=256, max_side=256)
    found = features_of(encode(pixels), settings, boxes=[(-5, 100, 150, 900)])
    part = features_of(encode(pixels[:150, 100:]), settings)
    np.testing.assert_allclose(found.points[:, :2], part.points[:, :2] + [100, 0], atol=1e-4)
    np.testing.assert_array_equal(found.vectors, part.vectors)


@pytest.mark.parametrize("mode", ["inside", "crop"])
def test_a_box_beside_the_photo_is_a_status(mode):
    content = encode(photo_pixels("coffee", side=100))
    boxes = [(0, 200, 50, 300), None]
    found = extract_local([content] * 2, msgspec.structs.replace(SIFT, box_mode=mode), boxes=boxes)
    assert found.status == ["empty_box", "ok"]
    assert found.features[0] is None
