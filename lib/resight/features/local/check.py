"""Load a HOW checkpoint once before any photo is read, so that a wrong file is known before Spark starts.

It is loaded by a process of its own (``python -m resight.features.local.check``, settings as JSON on its
standard input), as networks are by `resight.features.check`.
"""

import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec

import msgspec

from resight.config import SettingError
from resight.features.check import REFUSED, check_network
from resight.features.local.settings import LocalSettings
from resight.features.local.weights import local_weights_sha256

__all__ = ["check_activations", "check_whitening"]


def check_activations(settings: LocalSettings) -> int | None:
    """Load the network of the extractor ``how`` on the CPU; its channels, None where only a worker can tell.

    Raises
    ------
    SettingError
        It cannot be loaded; the message begins with the key.
    """
    if not settings.is_checkpoint:
        return check_network(settings.network_settings())
    return check_checkpoint(settings, local_weights_sha256(settings))


@lru_cache(maxsize=16)
def check_checkpoint(settings: LocalSettings, sha256: str) -> int | None:
    """Load a checkpoint, once per process and content of the file (``sha256``)."""
    if find_spec("torch") is None:
        return None
    command = [sys.executable, "-m", "resight.features.local.check"]
    given = msgspec.json.encode(settings).decode()
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stdout if done.returncode == REFUSED else f"backbone: {done.stderr.strip()[-300:]}"
        raise SettingError(said.strip())
    return int(done.stdout)


def check_whitening(settings: LocalSettings, n_dims: int) -> None:
    """Raise `SettingError` where a whitening is of other dimensions than the activations."""
    n_channels = check_activations(settings)
    if n_channels is not None and n_channels != n_dims:
        raise SettingError(f"whitening: for {n_dims} dimensions, the activations have {n_channels}")


def main() -> int:
    """Check the settings that come on the standard input."""
    from resight.features.local.how import load_activations, probe_map

    settings = msgspec.json.decode(sys.stdin.read(), type=LocalSettings)
    try:
        exact = msgspec.structs.replace(settings, precision="float32")  # the workers may have a GPU
        n_channels = probe_map(load_activations(exact, device="cpu").backbone)[0]
    except SettingError as error:
        sys.stdout.write(str(error))
        return REFUSED
    sys.stdout.write(str(n_channels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
