"""Networks: the embedded one recognises things, folding changes nothing, files are checked."""

import hashlib
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
import skimage
import timm
import torch
from pyarrow import fs
from torch import nn

from resight import files
from resight.config import SettingError
from resight.features.backbones import load_backbone, require_weights, weights_path, weights_sha256
from resight.features.networks import Head, fold_norms
from resight.features.settings import ExtractSettings

ESPRESSO, EGYPTIAN_CAT, MISSILE = 967, 285, 657  # classes of ImageNet


def load_photo(name, size=(224, 224)):
    from pathlib import Path

    path = Path(skimage.__file__).parent / "data" / name
    return cv2.resize(cv2.imread(str(path)), size, interpolation=cv2.INTER_AREA)[..., ::-1]


@pytest.mark.parametrize(
    ("name", "label"),
    [("coffee.png", ESPRESSO), ("chelsea.png", EGYPTIAN_CAT), ("rocket.jpg", MISSILE)],
)
def test_embedded_network_recognises_photos(name, label):
    backbone = load_backbone(ExtractSettings(), device="cpu")
    maps = backbone.maps(load_photo(name)[None].copy())[0]
    assert maps.shape == (1, 1280, 7, 7)
    with torch.inference_mode():
        logits = backbone.network.body.forward_head(maps)[0]
    assert label in logits.topk(3).indices


def test_a_network_is_loaded_once():
    first = load_backbone(ExtractSettings(), device="cpu")
    assert load_backbone(ExtractSettings(pooling="gem", p=4.0), device="cpu") is first


def test_inner_layers_are_the_outputs_of_their_blocks():
    settings = ExtractSettings(layers=("block4", "head", "conv_head"))
    backbone = load_backbone(settings, device="cpu")
    photo = load_photo("coffee.png", (96, 64))[None].copy()
    inner, head, conv = backbone.maps(photo)
    assert [m.shape[1] for m in (inner, head, conv)] == [112, 1280, 1280]
    np.testing.assert_allclose(conv.clamp(0, 6), head, atol=1e-5)
    plain = load_backbone(ExtractSettings(), device="cpu").maps(photo)[0]
    np.testing.assert_allclose(head, plain, atol=1e-5)


def test_folding_batch_norms_changes_nothing():
    torch.manual_seed(0)
    body = timm.create_model("resnet18", num_classes=0)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    network = Head(body).eval()
    folded = fold_norms(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.rand(2, 3, 64, 80)
    with torch.inference_mode():
        np.testing.assert_allclose(folded(x), network(x), rtol=1e-3, atol=1e-4)


def test_a_network_whose_norms_only_look_foldable_is_left_alone():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(1.0)

        def forward_features(self, x):
            return self.conv(self.norm(x))  # the norm comes first

    network = Head(Around()).eval()
    assert fold_norms(network) is network


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_timm_models_load_the_users_weights(tmp_path, name):
    torch.manual_seed(1)
    model = timm.create_model(name)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    settings = ExtractSettings(backbone=f"timm:{name}", weights=str(tmp_path / "weights.pth"))
    backbone = load_backbone(settings, device="cpu")
    photo = load_photo("coffee.png")[None].copy()
    maps = backbone.maps(photo)[0]
    with torch.inference_mode():
        expected = model.eval().forward_features(backbone.prepare(photo))
    if expected.ndim == 3:  # tokens: the class, then the patches row by row
        expected = expected[:, 1:].transpose(1, 2).reshape(maps.shape)
    np.testing.assert_allclose(maps, expected, atol=1e-4)


def save_script(path, network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(network), str(path))


def test_torchscript_vectors_pass_unpooled(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    save_script(tmp_path / "copy.pt", network)
    settings = ExtractSettings(backbone=f"torchscript:{tmp_path / 'copy.pt'}")
    backbone = load_backbone(settings, device="cpu")
    photo = load_photo("coffee.png", (48, 40))[None].copy()
    with torch.inference_mode():
        expected = network(backbone.prepare(photo))
    np.testing.assert_allclose(backbone.maps(photo)[0], expected, atol=1e-5)


def save_onnx(path, network, axes, shape=(1, 3, 48, 64)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the older exporter; the newer needs one more package
        names = {"input_names": ["x"], "dynamic_axes": {"x": axes}}
        torch.onnx.export(network.eval(), (torch.zeros(shape),), str(path), dynamo=False, **names)


@pytest.mark.parametrize("axes", [{0: "b", 2: "h", 3: "w"}, {}], ids=["any shape", "one photo of one shape"])
def test_onnx_vectors_are_those_of_the_network_that_was_exported(tmp_path, axes):
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    save_onnx(tmp_path / "copy.onnx", network, axes)
    backbone = load_backbone(ExtractSettings(backbone=f"onnx:{tmp_path / 'copy.onnx'}"), device="cpu")
    photos = np.stack([load_photo(name, (64, 48)) for name in ("coffee.png", "rocket.jpg")])
    with torch.inference_mode():
        expected = network(backbone.prepare(photos))
    np.testing.assert_allclose(backbone.maps(photos)[0], expected, atol=1e-5)


def test_onnx_files_that_cannot_be_run_are_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no network")
    with pytest.raises(SettingError, match=r"backbone: .*a\.onnx holds no ONNX network"):
        load_backbone(ExtractSettings(backbone=f"onnx:{tmp_path / 'a.onnx'}"), device="cpu")
    save_onnx(tmp_path / "b.onnx", nn.ReLU(), {}, shape=(2, 3))
    with pytest.raises(SettingError, match=r"takes tensor\(float\) \[2, 3\], not photos"):
        load_backbone(ExtractSettings(backbone=f"onnx:{tmp_path / 'b.onnx'}"), device="cpu")
    with pytest.raises(SettingError, match="layers: TorchScript and ONNX"):
        ExtractSettings.from_mapping({"backbone": "onnx:a.onnx", "layers": ("block1",)})


def test_photos_smaller_than_a_cell_are_filled_up():
    backbone = load_backbone(ExtractSettings(), device="cpu")
    x = backbone.prepare(np.full((1, 1, 256, 3), 255, np.uint8))
    assert x.shape == (1, 3, 32, 256)
    assert x[:, :, 0].min() == 1.0
    assert x[:, :, 1:].count_nonzero() == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "torchscript:/nowhere/a.pt"}, "backbone: cannot read"),
        ({"backbone": "timm:resnet18", "weights": "/nowhere/a.pth"}, "weights: cannot read"),
        ({"layers": ("block9",)}, "layers: the backbone has no 'block9'"),
        ({"precision": "float16"}, "precision: float16 needs a CUDA device"),
    ],
)
def test_what_cannot_be_loaded_names_its_key(values, message):
    with pytest.raises(SettingError, match=message):
        load_backbone(ExtractSettings(**values), device="cpu")


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    settings = ExtractSettings(backbone="timm:resnet34", weights=str(tmp_path / "w.pth"))
    with pytest.raises(SettingError, match=r"weights: .* lacks \d+ tensors"):
        load_backbone(settings, device="cpu")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A remote store ``s3a://bucket`` whose files lie in the folder that is given."""
    (tmp_path / "bucket").mkdir()
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(files, "remote_path", lambda uri: (store, uri.removeprefix("s3a://")))
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "bucket"


def test_weights_may_lie_on_a_remote_store(bucket):
    torch.manual_seed(2)
    torch.save(timm.create_model("resnet18").state_dict(), bucket / "w.pth")
    settings = ExtractSettings(backbone="timm:resnet18", weights="s3a://bucket/w.pth")
    assert weights_sha256(settings) == hashlib.sha256((bucket / "w.pth").read_bytes()).hexdigest()
    assert load_backbone(settings, device="cpu").maps(np.zeros((1, 64, 64, 3), np.uint8))[0].shape[1] == 512
    absent = ExtractSettings(backbone="torchscript:s3a://bucket/no.pt")
    with pytest.raises(SettingError, match=r"^backbone: cannot read the weight file s3a://bucket/no\.pt: "):
        weights_sha256(absent)


def test_a_machine_with_another_weight_file_is_told_both_hashes(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"mine")
    settings = ExtractSettings(backbone=f"torchscript:{tmp_path / 'a.pt'}")
    mine = hashlib.sha256(b"mine").hexdigest()
    require_weights(settings, mine)
    require_weights(settings, "")
    with pytest.raises(SettingError, match=f"^backbone: .*a.pt has SHA-256 {mine} on .* with {'0' * 64}"):
        require_weights(settings, "0" * 64)


def test_weights_are_hashed_without_importing_torch():
    program = (
        "import sys; from resight.features.backbones import weights_sha256 as f; "
        "from resight.features.settings import ExtractSettings as S; "
        "print(f(S())); assert f(S(extractor='colour')) == ''; assert 'torch' not in sys.modules"
    )
    got = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    expected = hashlib.sha256(weights_path(ExtractSettings()).read_bytes()).hexdigest()
    assert got.stdout.strip() == expected == weights_sha256(ExtractSettings())
