"""Load a network once before any photo is read, so that wrong settings are known before Spark starts.

The network is loaded by a process of its own (``python -m resight.features.check``, settings as JSON on its
standard input): the driver imports no torch.
"""

import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec

import msgspec
import numpy as np

from resight.config import SettingError
from resight.features.settings import ExtractSettings

__all__ = ["check_network"]

REFUSED = 2  # exit status; standard output says why
LITE0_DIMS = 1280  # channels of its last maps


@lru_cache(maxsize=16)
def check_network(settings: ExtractSettings) -> int | None:
    """Load the network of ``settings`` and run it on one square image, on the CPU; once per process.

    The embedded network up to its last maps is known to work. Without torch, as on the driver of some
    clusters, nothing is checked.

    Returns
    -------
    int or None
        Dimensions of a vector before any whitening; None where only a worker can tell.

    Raises
    ------
    SettingError
        It cannot be loaded, lacks one of ``layers`` or does not run; the message begins with the key.
    """
    if settings.is_colour:
        from resight.features.colour import DIMS

        return DIMS
    if settings.backbone == "lite0" and settings.layers == ("head",):
        return LITE0_DIMS
    if settings.is_named or find_spec("torch") is None:
        return None
    command = [sys.executable, "-m", "resight.features.check"]
    done = subprocess.run(
        command, input=msgspec.json.encode(settings).decode(), capture_output=True, text=True, check=False
    )
    if done.returncode == REFUSED:
        raise SettingError(done.stdout.strip())
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]
        raise SettingError(f"backbone: {settings.backbone} does not run: {last}")
    return int(done.stdout)


def try_network(settings: ExtractSettings) -> int:
    """Do in this process what `check_network` promises; give the channels of all layers."""
    from resight.features.backbones import load_backbone

    side = min(settings.sizes)
    exact = msgspec.structs.replace(settings, precision="float32")  # the workers may have a GPU
    maps = load_backbone(exact, "cpu").maps(np.zeros((1, side, side, 3), np.uint8))
    return sum(x.shape[1] for x in maps)


def main() -> int:
    """Check the settings that come on the standard input."""
    try:
        n_dims = try_network(msgspec.json.decode(sys.stdin.read(), type=ExtractSettings))
    except SettingError as error:
        sys.stdout.write(str(error))
        return REFUSED
    sys.stdout.write(str(n_dims))
    return 0


if __name__ == "__main__":
    sys.exit(main())
