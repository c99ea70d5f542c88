"""Networks that train: pooling against its closed forms, the split against the whole network."""

import numpy as np
import pytest
import timm
import torch

from resight.config import SettingError
from resight.features.networks import Head, read_trained
from resight.features.pooling import gem
from resight.training.network import load_network, pool_gem
from tests.training.planted import SMALL, save_weights, settings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights"))


def test_the_slopes_of_gem_are_the_closed_forms(rng):
    x = torch.from_numpy(rng.random((2, 3, 4, 5)) + 0.1).requires_grad_()
    p = torch.tensor(2.7, dtype=torch.float64, requires_grad=True)
    f = pool_gem(x, p)  # (2, 3)
    f.sum().backward()
    d, e = x.detach().numpy(), 2.7
    values, n = f.detach().numpy(), 20
    slope_x = (values ** (1 - e))[:, :, None, None] * d ** (e - 1) / n
    sums = (d**e).sum((2, 3))
    slope_p = values / e**2 * (np.log(n / sums) + e * (d**e * np.log(d)).sum((2, 3)) / sums)
    np.testing.assert_allclose(x.grad, slope_x, rtol=1e-5)
    assert p.grad.item() == pytest.approx(slope_p.sum(), rel=1e-5)


def test_gem_in_training_is_gem_later_and_zeros_have_finite_slopes(rng):
    x = torch.from_numpy(rng.random((2, 3, 4, 5))).requires_grad_()
    p = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(pool_gem(x, p), gem(x, 3.0))
    dead = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pool_gem(dead, p).sum().backward()
    assert dead.grad.isfinite().all()
    assert p.grad.isfinite()


@pytest.mark.parametrize("train_from", ["block0", "block3", "head", "all"])
def test_stem_and_tail_are_the_whole_network(weights, rng, train_from):
    network = load_network(settings(weights, train_from=train_from), CPU)
    pixels = rng.integers(0, 256, (2, 64, 48, 3), dtype=np.uint8)
    model = timm.create_model(SMALL, num_classes=0)
    model.load_state_dict(torch.load(weights, weights_only=True))
    mean, std = (torch.tensor(model.pretrained_cfg[k]).view(1, 3, 1, 1) * 255 for k in ("mean", "std"))
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std
    with torch.no_grad():
        expected = torch.nn.functional.normalize(pool_gem(Head(model.eval())(x), torch.tensor(3.0)))
        found = network.trained([network.enter(pixels)])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_only_what_comes_after_is_trained_and_statistics_stay(weights):
    network = load_network(settings(weights, train_from="block3"), CPU)
    photos = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    network.trained([network.enter(photos)]).sum().backward()
    moved = {name for name, p in network.body.named_parameters() if p.grad is not None}
    assert moved
    assert all(name.startswith(("blocks.3", "blocks.4", "conv_head", "bn2")) for name in moved)
    before = timm.create_model(SMALL, num_classes=0)
    before.load_state_dict(torch.load(weights, weights_only=True))
    for name, value in before.named_buffers():
        assert torch.equal(dict(network.body.named_buffers())[name], value), name


def test_another_family_is_frozen_up_to_a_named_part(tmp_path):
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "r.pth")
    conf = settings(str(tmp_path / "r.pth"), backbone="timm:test_resnet", train_from="layer4")
    network = load_network(conf, CPU)
    trained = {name for name, p in network.body.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("layer4") for name in trained)
    with pytest.raises(SettingError, match=r"train_from: the backbone has no 'layer9'; at its top are"):
        load_network(settings(conf.weights, backbone=conf.backbone, train_from="layer9"), CPU)


def test_a_packed_network_is_the_same_bytes_and_reads_back(weights, tmp_path):
    network = load_network(settings(weights), CPU)
    packed = network.pack(pooling="gem", p=2.5)
    assert packed == load_network(settings(weights), CPU).pack(pooling="gem", p=2.5)
    (tmp_path / "network.safetensors").write_bytes(packed)
    body, own, facts = read_trained(tmp_path / "network.safetensors")
    assert facts["architecture"] == SMALL
    assert facts["p"] == 2.5
    assert list(own[0]) == facts["mean"]
    for name, value in network.body.state_dict().items():
        assert torch.equal(body.state_dict()[name], value), name
    again = load_network(settings("", backbone=f"trained:{tmp_path / 'network.safetensors'}"), CPU)
    assert again.trained.p.item() == 2.5


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(SettingError, match="holds no network of train-network"):
        read_trained(tmp_path / "other.safetensors")
