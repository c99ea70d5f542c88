"""What the kernels are for: real photos as posters on textured walls, which burst with equal keypoints."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import sklearn.datasets

from resight.asmk.kernel import Selectivity, raw_scores, self_scores
from resight.asmk.statistics import inverse_roots, word_weights
from resight.codebook.model import Codebook
from resight.codebook.quantize import assign
from resight.features.local.rootsift import RootSift
from tests.asmk.sets import entries_of

DATA, LIGHT = Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images"
PHOTOS = [DATA / f"{name}.png" for name in ("astronaut", "chelsea", "coffee", "motorcycle_left", "camera")]
PHOTOS += [DATA / "rocket.jpg", LIGHT / "china.jpg", LIGHT / "flower.jpg"]
WALLS = [DATA / f"{name}.png" for name in ("brick", "gravel", "page", "text", "coins")]
K, SIDE, N_BASE, N_VIEWS = 64, 220, 2, 5


def load(file, longer_side):
    pixels = cv2.imread(str(file))[:, :, ::-1]
    factor = longer_side / max(pixels.shape[:2])
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def hang(poster, wall, rng, angle):
    """A part of the wall with the poster on it, turned."""
    y, x = (rng.integers(0, side - SIDE) for side in wall.shape[:2])
    scene, (h, w) = wall[y : y + SIDE, x : x + SIDE].copy(), poster.shape[:2]
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 0.95)
    turn[:, 2] += [(SIDE - w) / 2, (SIDE - h) / 2]
    covered = cv2.warpAffine(np.full((h, w), 255, np.uint8), turn, (SIDE, SIDE)) > 127
    scene[covered] = cv2.warpAffine(poster, turn, (SIDE, SIDE))[covered]
    return scene


@pytest.fixture(scope="module")
def described():
    """Keypoints by view and poster: two views are the collection, three ask; every view on another wall."""
    sift, views = RootSift(0.01, 12.0), [[] for _ in range(N_VIEWS)]
    posters, walls = [load(f, 110) for f in PHOTOS], [cv2.resize(load(f, 400), (400, 400)) for f in WALLS]
    for i, poster in enumerate(posters):
        for j, view in enumerate(views):
            rng = np.random.default_rng(10 * i + j)
            scene = hang(poster, walls[(i + j) % len(walls)], rng, 12 * j - 20)
            view.append(sift.describe(scene, limit=200).vectors.astype(np.float32))
    return views


@pytest.fixture(scope="module")
def codebook(described):
    X = np.concatenate([V for view in described[:N_BASE] for V in view])
    C = X[:: len(X) // K][:K]
    for _ in range(4):
        words = assign(X, Codebook(C))[:, 0]
        C = np.stack([X[words == c].mean(0) if (words == c).any() else C[c] for c in range(K)])
    return Codebook(C)


def average_precision(scores, i):
    right = np.argsort(-scores, kind="stable") % len(PHOTOS) == i
    return (np.cumsum(right)[right] / (np.flatnonzero(right) + 1)).mean()


def rank(described, codebook, variant, alpha=3.0):
    """Mean average precision of a kernel."""
    sets, kernel = [V for view in described[:N_BASE] for V in view], Selectivity(alpha)
    base, n = entries_of(sets, codebook, variant), len(sets)
    pairs = np.unique(np.stack([base.words, base.owners]), axis=1)
    weights = word_weights(np.bincount(pairs[0], minlength=K), n)
    norms = inverse_roots(self_scores(base, weights, n_images=n, selectivity=kernel))
    found = []
    for view in described[N_BASE:]:
        for i, X in enumerate(view):
            raw = raw_scores(
                entries_of([X], codebook, variant), base, weights, n_images=n, selectivity=kernel
            )
            found.append(average_precision(norms * raw, i))
    return np.mean(found)


def rank_with_less_of_bursts(described, codebook):
    """Mean average precision of SMK whose query keypoints count less the more of an image they match.

    ``sum_x (#Y(x))^(-1/2) sum_y s(x, y)`` over ``Y(x)``, the keypoints y of the word with ``s(x, y) != 0``.
    """
    sets = [V for view in described[:N_BASE] for V in view]
    base, n, found = entries_of(sets, codebook, "smk"), len(sets), []
    pairs = np.unique(np.stack([base.words, base.owners]), axis=1)
    weights = word_weights(np.bincount(pairs[0], minlength=K), n)
    norms = inverse_roots(self_scores(base, weights, n_images=n))
    inside = np.eye(n)[base.owners]
    for view in described[N_BASE:]:
        for i, X in enumerate(view):
            asked = entries_of([X], codebook, "smk")
            S = np.maximum(asked.values @ base.values.T, 0) ** 3 * (asked.words[:, None] == base.words)
            counted = np.maximum((S > 0) @ inside, 1) ** -0.5 * (S @ inside)
            found.append(average_precision(norms * (weights[asked.words] @ counted), i))
    return np.mean(found)


def rank_bags(described, codebook):
    """Mean average precision of histograms of words, with their weights."""
    counts = [[np.bincount(assign(V, codebook)[:, 0], minlength=K) for V in view] for view in described]
    base = np.concatenate(counts[:N_BASE]).astype(float)
    idf = np.log(len(base) / np.maximum((base > 0).sum(0), 1))
    base *= idf
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    asked = [(i, h) for view in counts[N_BASE:] for i, h in enumerate(view)]
    return np.mean([average_precision(base @ (idf * h), i) for i, h in asked])


def test_asmk_beats_smk_and_smk_beats_bags_of_words(described, codebook):
    bags = rank_bags(described, codebook)
    for end in ("", "*"):
        smk, asmk = (rank(described, codebook, kind + end) for kind in ("smk", "asmk"))
        assert asmk > smk + 0.1 > bags + 0.15


def test_aggregation_beats_weights_against_bursts_and_bits_lose_little(described, codebook):
    asmk, smk, bits = (rank(described, codebook, kind) for kind in ("asmk", "smk", "asmk*"))
    weighed = rank_with_less_of_bursts(described, codebook)
    assert asmk > weighed + 0.05
    assert weighed > smk
    assert asmk - bits <= 0.021


def test_a_power_of_three_beats_the_linear_kernel(described, codebook):
    assert rank(described, codebook, "asmk*") > rank(described, codebook, "asmk*", alpha=1.0) + 0.03
