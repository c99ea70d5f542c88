"""Settings of a network are tried in a process of their own before Spark starts."""

import subprocess
import sys

import pytest
import timm
import torch

from resight.config import SettingError
from resight.features.check import check_network, try_network
from resight.features.settings import ExtractSettings


class Pair(torch.nn.Module):
    """A network whose output is no tensor."""

    def forward(self, x):
        return x, x


def test_a_network_that_runs_passes_and_the_driver_imports_no_torch():
    program = (
        "import sys; from resight.features.check import check_network; "
        "from resight.features.settings import ExtractSettings; "
        "assert check_network(ExtractSettings()) == 1280; "
        "assert check_network(ExtractSettings(extractor='colour')) == 864; "
        "assert check_network(ExtractSettings(layers=('block4', 'head'), longer_side=64)) == 1392; "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_network_that_does_not_run_is_refused_with_what_it_says(tmp_path):
    torch.jit.script(Pair()).save(str(tmp_path / "pair.pt"))
    with pytest.raises(SettingError, match=r"^backbone: torchscript:.*pair\.pt does not run: .*tuple"):
        check_network(ExtractSettings(backbone=f"torchscript:{tmp_path / 'pair.pt'}"))


def test_models_that_timm_does_not_know_are_named():
    settings = ExtractSettings(backbone="timm:nosuch", weights=__file__)
    with pytest.raises(SettingError, match=r"^backbone: timm has no model 'nosuch'"):
        try_network(settings)


def test_half_precision_does_not_hinder_the_check_on_a_cpu():
    try_network(ExtractSettings(precision="float16", longer_side=64))


@pytest.mark.parametrize("content", ["other", "list", "text", "nothing"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_hold_no_weights_of_this_network_are_refused(tmp_path, content, suffix):
    from safetensors.torch import save_file

    file = tmp_path / f"weights{suffix}"
    if content == "other":
        tensors = timm.create_model("resnet18").state_dict()
        save_file(tensors, file) if suffix == ".safetensors" else torch.save(tensors, file)
    elif content == "list":
        torch.save([1, 2], file)
    else:
        file.write_bytes(b"not a network" if content == "text" else b"")
    settings = ExtractSettings(backbone="timm:resnet50", weights=str(file), longer_side=64)
    with pytest.raises(SettingError, match=r"^weights: .*weights"):
        try_network(settings)


def test_a_broken_torchscript_file_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(SettingError, match=r"^backbone: .*a\.pt holds no TorchScript network: "):
        try_network(ExtractSettings(backbone=f"torchscript:{tmp_path / 'a.pt'}"))
