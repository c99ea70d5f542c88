"""Checkpoints of HOW in both layouts, read as the published network would compute."""

from collections import defaultdict

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional

from resight.config import SettingError
from resight.features.local import check
from resight.features.local.extractors import build_extractor
from resight.features.local.settings import LocalSettings
from resight.jobs.extract_local_features import ExtractLocalConfig
from tests.features.local.photo_files import photo_pixels

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    children = list(torchvision.models.resnet18(weights=None).children())[:-3]
    return torch.nn.Sequential(*children).eval()


@pytest.fixture(scope="module")
def reduction():
    torch.manual_seed(1)
    return torch.nn.Conv2d(256, 16, 1).requires_grad_(False)


@pytest.fixture(scope="module")
def files(network, reduction, tmp_path_factory):
    folder = tmp_path_factory.mktemp("how")
    features = {f"features.{k}": v for k, v in network.state_dict().items()}
    weight, bias = reduction.weight, reduction.bias
    runtime = {"mean_std": [MEAN, STD], "scales": [1], "features_num": 10}
    new = {
        "epoch": 3,
        "best_score": np.float64(0.5),
        "scores": defaultdict(list, {"train_loss": [(1, np.float64(0.25))]}),
        "state_dict": features | {"dim_reduction.weight": weight, "dim_reduction.bias": bias},
        "net_params": {"architecture": "resnet18", "skip_layer": 1, "dim_reduction": {"dim": 16}}
        | {"smoothing": {"kernel_size": 3}, "runtime": runtime, "pretrained": True},
    }
    meta = {"architecture": "resnet18", "skip_layer": 1, "dim": 16, "feat_pool_k": 3}
    old = {
        "meta": meta | {"mean": MEAN, "std": STD},
        "state_dict": features | {"whiten.weight": weight, "whiten.bias": bias},
    }
    torch.save(new, folder / "new.pth")
    torch.save(old, folder / "old.pth")
    return folder


@torch.inference_mode()
def published(network, reduction, pixels, scales):
    """Vectors and strengths of all cells, as the paper's code runs."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    x = (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    vectors, strengths = [], []
    for s in scales:
        u = network(functional.interpolate(x, scale_factor=s, mode="bilinear", align_corners=False))
        smooth = functional.avg_pool2d(u, 3, 1, 1, count_include_pad=False)
        vectors.append(reduction(smooth)[0].flatten(1).T)
        strengths.append((u**2).sum(1).add(1e-10).sqrt().flatten())
    strength = torch.cat(strengths)
    order = strength.sort(descending=True, stable=True)[1][:100]
    return torch.cat(vectors)[order].numpy(), strength[order].numpy()


@pytest.mark.parametrize("name", ["new.pth", "old.pth"])
def test_a_checkpoint_describes_as_the_published_network(files, network, reduction, name):
    pixels = photo_pixels("coffee", side=224)
    scales = (1.414, 1.0, 0.5)
    settings = LocalSettings(extractor="how", backbone=f"how:{files / name}", scales=scales)
    found = build_extractor(settings, device="cpu").describe(pixels, limit=100)
    vectors, strengths = published(network, reduction, pixels, scales)
    np.testing.assert_allclose(found.points[:, 4], strengths, rtol=1e-4)
    np.testing.assert_allclose(found.vectors, vectors, atol=1e-3)
    assert set(np.round(found.points[:, 2].astype(float), 2)) <= {11.32, 16, 32}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": 1}, "holds no state_dict"),
        ({"state_dict": {}, "net_params": {"architecture": "vit"}}, "architecture vit"),
        ({"state_dict": {}, "net_params": {"architecture": "resnet18"}}, "Missing key|Error.* loading"),
        ({"state_dict": {}, "meta": {}}, "no HOW checkpoint"),
    ],
)
def test_another_file_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    settings = LocalSettings(extractor="how", backbone=f"how:{tmp_path / 'x.pth'}")
    with pytest.raises(SettingError, match=f"^backbone: .*{message}"):
        build_extractor(settings, device="cpu")


def test_a_wrong_file_is_known_before_anything_starts(files, tmp_path):
    torch.save({"weights": 1}, tmp_path / "x.pth")
    wrong = ExtractLocalConfig(extractor="how", backbone=f"how:{tmp_path / 'x.pth'}")
    with pytest.raises(SettingError, match=r"^backbone: .*holds no state_dict"):
        wrong.check()
    right = LocalSettings(extractor="how", backbone=f"how:{files / 'new.pth'}")
    assert check.check_activations(right) == 256


def test_a_whitening_of_other_dimensions_is_refused(monkeypatch):
    monkeypatch.setattr(check, "check_activations", lambda _: 96)
    check.check_whitening(LocalSettings(extractor="how"), 96)
    with pytest.raises(SettingError, match=r"^whitening: for 64 dimensions, the activations have 96"):
        check.check_whitening(LocalSettings(extractor="how"), 64)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"state_dict": {}, "net_params": np.testing.assert_allclose}, tmp_path / "x.pth")
    settings = LocalSettings(extractor="how", backbone=f"how:{tmp_path / 'x.pth'}")
    with pytest.raises(SettingError, match=r"^backbone: .*cannot be read"):
        build_extractor(settings, device="cpu")
