"""Settings of an extractor: what is refused, and what enters their digest."""

import msgspec
import pytest

from resight.config import SettingError
from resight.features.settings import ExtractSettings


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"backbone": "timm:resnet18"}, "weights"),
        ({"weights": "resnet18.pth"}, "weights"),
        ({"backbone": "resnet:18"}, "backbone"),
        ({"p": 0.0}, "p"),
        ({"p": 0.5}, "p"),
        ({"scales": (1.0, 0.01)}, "scales"),
        ({"scales": ()}, "scales"),
        ({"longer_side": 20, "scales": (0.5,)}, "longer_side"),
        ({"longer_side": 8000, "scales": (2.0,)}, "longer_side"),
        ({"layers": ("head", "head")}, "layers"),
        ({"backbone": "torchscript:a.pt", "layers": ("block1",)}, "layers"),
        ({"pooling": "gem", "whiten_regions": True}, "whiten_regions"),
        ({"layers": ("head", "block5"), "whiten_regions": True}, "whiten_regions"),
        ({"extractor": "colour", "scales": (1.0, 0.5)}, "scales"),
        ({"pixel_mean": (0.5,)}, "pixel_mean"),
        ({"pixel_std": (0.5, 0.0, 0.5)}, "pixel_std"),
        ({"levels": 0}, "levels"),
    ],
)
def test_impossible_settings_are_refused_and_the_key_is_named(values, key):
    with pytest.raises(SettingError, match=rf"\b{key}\b"):
        ExtractSettings.from_mapping(values)


def test_sizes_follow_the_extractor_and_the_scales():
    assert ExtractSettings().sizes == (256,)
    assert ExtractSettings(extractor="colour").sizes == (128,)
    assert ExtractSettings(longer_side=256, scales=(1.0, 2**0.5)).sizes == (256, 362)


def test_digest_depends_on_what_is_computed_only():
    digest = ExtractSettings().digest
    assert ExtractSettings(p=4.0).digest != digest
    assert ExtractSettings(batch_pixels=1, held_pixels=1).digest == digest
    scripts = [ExtractSettings(backbone=f"torchscript:{path}") for path in ("a.pt", "b/a.pt")]
    assert scripts[0].digest == scripts[1].digest != digest


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        ExtractSettings().p = 4.0
    assert msgspec.structs.replace(ExtractSettings(), p=4.0).p == 4.0
