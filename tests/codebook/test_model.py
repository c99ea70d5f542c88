import pickle

import numpy as np
import pytest

from resight.codebook.model import Codebook, save_codebook, save_quantizer
from resight.codebook.quantize import Quantizer


@pytest.fixture
def codebook(rng):
    C, P, M = (rng.normal(size=shape).astype("f4") for shape in ((5, 6), (4, 6), (5, 4)))
    packed = rng.integers(0, 256, 9, np.uint8)
    return Codebook(C, P, M, 3, '{"extractor": "rootsift"}', "float16", "ab", packed)


def same(a, b):
    assert a.facts() == b.facts()
    assert a.arrays().keys() == b.arrays().keys()
    for name, array in a.arrays().items():
        np.testing.assert_array_equal(array, b.arrays()[name])


def test_packing_gives_back_what_was_packed(codebook):
    same(Codebook.from_bytes(codebook.to_bytes()), codebook)
    plain = Codebook(codebook.centroids)
    same(Codebook.from_bytes(plain.to_bytes()), plain)
    assert codebook.to_bytes() == codebook.to_bytes()


def test_a_packed_codebook_has_the_groups_that_it_was_packed_with(rng):
    held = Codebook(rng.normal(size=(40, 6)).astype("f4"), n_probes=2)
    other = Quantizer(held.centroids[::-1].copy()).coarse  # such as k-means finds them on another machine
    held.quantizer.coarse = other
    found = Codebook.from_bytes(held.to_bytes()).quantizer.coarse
    np.testing.assert_array_equal(found.centers, other.centers)
    np.testing.assert_array_equal(found.home, other.home)


def test_mapped_files_hold_the_same_codebook(codebook, tmp_path):
    layout = pickle.loads(pickle.dumps(save_codebook(codebook, str(tmp_path))))
    same(layout.open(), codebook)
    assert layout.open() is layout.open()
    assert len(pickle.dumps(layout)) < 1000


def test_a_code_has_a_bit_per_dimension_or_per_direction(codebook):
    assert (codebook.n_bits, Codebook(codebook.centroids).n_bits) == (4, 6)


def test_shapes_that_do_not_fit_are_refused(codebook):
    with pytest.raises(ValueError, match="a projection and medians come together"):
        Codebook(codebook.centroids, codebook.projection)
    with pytest.raises(ValueError, match=r"expected \(b, 6\) and \(5, b\)"):
        Codebook(codebook.centroids, codebook.projection, codebook.medians[:4])
    with pytest.raises(ValueError, match=r"centroids have shape \(0, 3\)"):
        Codebook(np.zeros((0, 3), np.float32))


def test_workers_visit_the_very_groups_of_the_process_that_wrote_them(tmp_path, rng):
    held = Codebook(rng.normal(size=(40, 6)).astype("f4"), n_probes=2)
    opened = save_codebook(held, str(tmp_path)).open().quantizer
    tasks = pickle.loads(pickle.dumps(save_quantizer(held.quantizer, str(tmp_path)))).open()
    for found in (opened, tasks):
        assert "coarse" in vars(found)
        for a, b in zip(found.coarse, held.quantizer.coarse, strict=True):
            np.testing.assert_array_equal(a, b)
        assert found.n_probes == 2
    X = rng.normal(size=(30, 6)).astype("f4")
    np.testing.assert_array_equal(opened.assign(X, 3), held.quantizer.assign(X, 3))
    np.testing.assert_array_equal(tasks.assign(X, 3), held.quantizer.assign(X, 3))


def test_a_quantizer_that_compares_all_words_has_no_groups_to_write(tmp_path, rng):
    held = Quantizer(rng.normal(size=(5, 3)).astype("f4"))
    found = save_quantizer(held, str(tmp_path)).open()
    assert "coarse" not in vars(found)
    np.testing.assert_array_equal(found.centroids, held.centroids)
