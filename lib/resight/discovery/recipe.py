"""How a query is described that asks among images described by their objects: as one of their boxes was."""

from resight.discovery.settings import network_settings
from resight.features.settings import ExtractSettings
from resight.reader import Reader
from resight.tables import MODELS
from resight.workspace import Run

__all__ = ["JOB", "describe_like_boxes"]

JOB = "discover-objects"


def describe_like_boxes(
    reader: Reader, discovered: Run, described: ExtractSettings, whitening: tuple[bytes, ...]
) -> tuple[ExtractSettings, tuple[bytes, ...]]:
    """Give settings and packed whitening of the boxes of a build of ``discover-objects``.

    A query is described as a whole, or by the box that is given with it: nothing is detected in it.

    Parameters
    ----------
    reader : Reader
        Of the workspace.
    discovered : Run
        The build.
    described, whitening
        Of the descriptors that it was made from.
    """
    network = network_settings(described, discovered.settings["longer_side"])
    if discovered.settings["whitening"] == "none":
        return network, ()
    if whitening or MODELS.name not in discovered.outputs:
        return network, whitening
    rows = reader.read(MODELS, discovered.build_id).to_pylist()
    return network, (rows[0]["params"],)
