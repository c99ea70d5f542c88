import numpy as np
import pytest

from resight.config import SettingError
from resight.features.extract import extract_contents
from resight.features.local.extract import extract_local
from resight.features.local.settings import LocalSettings
from resight.features.photos import Failure, decode_photo
from resight.features.settings import ExtractSettings
from resight.jobs.extract_features import ExtractConfig
from tests.pictures import PHOTOS, save_photo

OWN = "tests.faulty_decoder:decode_reversed"


@pytest.fixture
def content(tmp_path):
    save_photo("china", tmp_path / "china.jpg", side=120)
    return (tmp_path / "china.jpg").read_bytes()


def test_extractors_see_what_the_own_decoder_gives(content):
    assert "china" in PHOTOS
    settings = ExtractSettings(extractor="colour"), ExtractSettings(extractor="colour", decoder=OWN)
    plain, own = (extract_contents([c], s) for c, s in zip((content, content[::-1]), settings, strict=True))
    assert own.status == ["ok"]
    np.testing.assert_array_equal(own.vectors, plain.vectors)
    local = [LocalSettings(), LocalSettings(decoder=OWN)]
    plain, own = (extract_local([c], s) for c, s in zip((content, content[::-1]), local, strict=True))
    np.testing.assert_array_equal(own.features[0].points, plain.features[0].points)
    assert settings[0].digest != settings[1].digest


def test_an_own_decoder_that_raises_costs_its_image_only():
    failure = decode_photo(b"error", max_pixels=10**6, decoder=OWN)
    assert failure == Failure("undecodable", "KeyError: 'no such codec'")
    with pytest.raises(MemoryError):
        decode_photo(b"memory", max_pixels=10**6, decoder=OWN)


def test_a_decoder_that_cannot_be_imported_is_named_before_spark():
    with pytest.raises(SettingError, match="--decoder: cannot import 'nothing:here'"):
        ExtractConfig(decoder="nothing:here").check()
