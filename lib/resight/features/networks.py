"""Read networks from their files and prepare them for inference: embedded, timm, TorchScript, ONNX.

Weights are read without executing anything from them. Batch normalisation is folded into the
convolution before it where that provably changes nothing.
"""

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resight.config import SettingError

__all__ = [
    "LOADERS",
    "Head",
    "build_timm",
    "fold_norms",
    "load_lite0",
    "load_timm",
    "pack_network",
    "read_lite0",
    "read_trained",
]

LITE0 = ((127 / 255,) * 3, (128 / 255,) * 3)  # the embedded network sees (x - 127) / 128
FLOATS = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}  # inputs that ONNX files have
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Normalisation = tuple[Sequence[float], Sequence[float]]  # RGB mean and deviation in 0..1


class Head(nn.Module):
    """A timm model ``body`` up to its last map: (b, 3, h, w) to (b, d, h', w')."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Run the body; the tokens of a transformer are laid out as a map."""
        if not hasattr(self.body, "patch_embed"):
            return self.body.forward_features(x)
        return self.body.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[0]


def load_script(path: Path) -> tuple[nn.Module, Normalisation]:
    """Load a TorchScript file; its output is a map (b, d, h, w) or a vector (b, d)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch advises its authors of another format
        try:
            return torch.jit.load(str(path), map_location="cpu").eval(), IMAGENET
        except (RuntimeError, ValueError, OSError) as error:
            raise SettingError(
                f"backbone: {path} holds no TorchScript network: {first_line(error)}"
            ) from None


def load_onnx(path: Path) -> tuple[nn.Module, Normalisation]:
    """Load an ONNX file; of photos (b, 3, h, w) its first output is a map (b, d, h, w) or a vector (b, d)."""
    return OnnxNetwork(path), IMAGENET


class OnnxNetwork(nn.Module):
    """A network that ONNX Runtime runs, on the CPU unless its build for GPUs is installed.

    A file whose batch size is fixed to 1 gets the photos one by one.

    Raises
    ------
    SettingError
        ONNX Runtime is not installed, or the file holds no network that it can run.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise SettingError("backbone: onnx: needs ONNX Runtime: pip install 'resight[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = onnxruntime.get_available_providers()
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its own errors have no common class but this
            raise SettingError(f"backbone: {path} holds no ONNX network: {first_line(error)}") from None
        asked = self.session.get_inputs()[0]
        self.name, self.dtype = asked.name, FLOATS.get(asked.type)
        if self.dtype is None or len(asked.shape) != 4:
            raise SettingError(f"backbone: {path} takes {asked.type} {asked.shape}, not photos (b, 3, h, w)")
        self.one_by_one = asked.shape[0] == 1

    def forward(self, x: Tensor) -> Tensor:
        """Run the photos; the output lies where they do."""
        photos = x.to("cpu", self.dtype).contiguous().numpy()
        parts = np.split(photos, len(photos)) if self.one_by_one else [photos]
        outputs = [self.session.run(None, {self.name: part})[0] for part in parts]
        return torch.from_numpy(np.concatenate(outputs)).to(x.device)


def load_lite0(path: Path) -> tuple[nn.Module, Normalisation]:
    """Load the embedded EfficientNet-Lite0."""
    return fold_norms(Head(read_lite0(path)).eval()), LITE0


def read_lite0(path: Path) -> nn.Module:
    """Build an EfficientNet-Lite0 from its package's weights under timm's names.

    Both list the same tensors in the order of the forward pass.
    """
    body = timm.create_model("tf_efficientnet_lite0")
    own, given = body.state_dict(), read_weights(path)
    if [t.shape for t in own.values()] != [t.shape for t in given.values()]:
        raise SettingError(f"backbone: {path} does not hold an EfficientNet-Lite0")
    body.load_state_dict(dict(zip(own, given.values(), strict=True)))
    return body


def load_timm(name: str, path: Path) -> tuple[nn.Module, Normalisation]:
    """Load a timm model by name with the user's weights; its classifier is not needed."""
    require_model(name)
    body, own = build_timm(name, read_weights(path), path)
    return fold_norms(Head(body).eval()), own


def require_model(name: str) -> None:
    """Raise `SettingError` where timm has no such model."""
    if not timm.is_model(name):
        raise SettingError(f"backbone: timm has no model {name!r}")


def build_timm(name: str, weights: dict[str, Tensor], path: Path) -> tuple[nn.Module, Normalisation]:
    """Build a timm model with the weights of the file ``path``, without a classifier."""
    require_model(name)
    body: Any = timm.create_model(name, num_classes=0)
    if hasattr(body, "dynamic_img_size"):  # transformers: any size, filled up to whole patches
        body = timm.create_model(name, num_classes=0, dynamic_img_size=True, dynamic_img_pad=True)
    try:
        missing, _ = body.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # tensors of other shapes
        why = " ".join(str(error).split())[:300]
        raise SettingError(f"weights: {path} is of another network than {name}: {why}") from None
    if missing:
        raise SettingError(f"weights: {path} lacks {len(missing)} tensors, first {missing[0]}")
    config = body.pretrained_cfg
    return body, (config["mean"], config["std"])


def load_trained(path: Path) -> tuple[nn.Module, Normalisation]:
    """Load a network that ``train-network`` wrote."""
    body, own, _ = read_trained(path)
    return fold_norms(Head(body).eval()), own


LOADERS = {"torchscript": load_script, "onnx": load_onnx, "trained": load_trained}  # of networks in one file


def read_trained(path: Path) -> tuple[nn.Module, Normalisation, dict[str, Any]]:
    """Build the network of a file of ``train-network``, with what the file says of it (`pack_network`)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["resight"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        why = f": {first_line(error)}" if isinstance(error, OSError) else ""
        raise SettingError(f"backbone: {path} holds no network of train-network{why}") from None
    body, _ = build_timm(facts["architecture"], weights, path)
    return body, (facts["mean"], facts["std"]), facts


def pack_network(body: nn.Module, facts: dict[str, Any]) -> bytes:
    """Pack a timm model with the ``facts`` that build it again (architecture, mean, std) and others.

    The same weights and facts give the same bytes: they are all under one name, as names have no order.
    """
    from safetensors.torch import save

    kept = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in body.state_dict().items()
        if not name.startswith("classifier.")
    }
    return save(kept, {"resight": json.dumps(facts, sort_keys=True)})


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict in safetensors or torch format; `SettingError` where the file holds none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, ValueError, KeyError, EOFError, UnpicklingError, SafetensorError) as error:
        raise SettingError(f"weights: {path} cannot be read: {first_line(error)}") from None
    for wrapper in ("state_dict", "model"):
        content = content.get(wrapper, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise SettingError(f"weights: {path} holds no table of named tensors")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def first_line(error: Exception) -> str:
    """Give the first line of what torch says, which can be pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def fold_norms(network: Head) -> Head:
    """Fold each batch normalisation into the convolution before it: 1.4 times faster on a CPU.

    Neighbours in the list of modules need not be neighbours in the computation: the folded network is
    compared with the original on noise, and the original is returned where they differ.
    """
    folded = copy.deepcopy(network)
    if not fold_neighbours(folded):
        return network
    noise = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, got = network(noise), folded(noise)
    same = torch.allclose(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    return folded if same else network


def fold_neighbours(network: nn.Module) -> int:
    """Fold each pair (convolution, batch norm) of the list of modules; count them."""
    convolution: nn.Conv2d | None = None
    place, n_folded = "", 0
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d):
            convolution, place = module, name
        elif isinstance(module, nn.BatchNorm2d) and convolution is not None:
            network.set_submodule(place, fuse_conv_bn_eval(convolution, module))
            network.set_submodule(name, getattr(module, "act", nn.Identity()))
            convolution, n_folded = None, n_folded + 1
        elif next(module.children(), None) is None:  # something else in between
            convolution = None
    return n_folded
