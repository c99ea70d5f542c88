"""Networks that a workspace keeps: a file of weights, and a row of ``models`` that says where it lies."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import msgspec
import numpy as np

from resight import files
from resight.features.settings import ExtractSettings
from resight.reader import Reader
from resight.tables import MODELS
from resight.workspace import input_key

__all__ = ["ROLE", "TrainedNetwork", "resolve_backbone"]

ROLE = "network"  # of the input of extract-features, and kind of the row


@dataclass(frozen=True)
class TrainedNetwork:
    """Where the file of a network lies, and what it was trained with.

    Parameters
    ----------
    path : str
        Of the file, relative to the workspace.
    sha256 : str
        Of its bytes.
    pooling : str
        What the training pooled maps with.
    p : float
        The exponent of GeM that was learned.
    longer_side : int
        Pixels of a photo in the training.
    """

    path: str
    sha256: str
    pooling: str
    p: float
    longer_side: int

    def to_bytes(self) -> bytes:
        """Pack into a npz archive (the ``params`` of a row of ``models``)."""
        buffer = io.BytesIO()
        text = json.dumps(asdict(self), sort_keys=True).encode()
        np.savez(buffer, allow_pickle=False, network=np.frombuffer(text, np.uint8))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, params: bytes) -> Self:
        """Unpack what `to_bytes` gave."""
        with np.load(io.BytesIO(params), allow_pickle=False) as archive:
            return cls(**json.loads(archive["network"].tobytes()))


def resolve_backbone(
    reader: Reader, settings: ExtractSettings, parents: Mapping[str, str]
) -> tuple[ExtractSettings, str]:
    """Put the file of a network in the place of its name.

    Parameters
    ----------
    reader : Reader
        Of the workspace that has the network.
    settings : ExtractSettings
        Returned as they are unless their backbone is the name of a build.
    parents : mapping of str to str
        Builds that the descriptors are made from, by the names of inputs.

    Returns
    -------
    settings : ExtractSettings
        With ``trained:URI`` for a backbone, and the exponent that was learned where ``p`` is 0.
    sha256 : str
        That the file must have; empty where the settings name no build.
    """
    if not settings.is_named:
        return settings, ""
    rows = reader.read(MODELS, parents[input_key(MODELS, ROLE)]).to_pylist()
    network = TrainedNetwork.from_bytes(next(row["params"] for row in rows if row["kind"] == ROLE))
    backbone = f"trained:{files.join(reader.workspace.root, network.path)}"
    found = msgspec.structs.replace(settings, backbone=backbone, p=settings.p or network.p)
    return found, network.sha256
