"""The hash functions of descriptors by their names, and the models that they give."""

import io
from collections.abc import Callable

import numpy as np

from resight.hashing.autoencoder import fit_rba
from resight.hashing.deep.fit import fit_deephash, fit_rbmh
from resight.hashing.deep.stack import StackModel
from resight.hashing.learned import FITS, HashModel
from resight.hashing.subspaces import SubspaceModel, fit_kmh, fit_pq

__all__ = ["ALL_FITS", "CodeModel", "read_model"]

CodeModel = HashModel | SubspaceModel | StackModel
ALL_FITS: dict[str, Callable[..., CodeModel]] = {
    **FITS,
    "rba": fit_rba,
    "kmh": fit_kmh,
    "pq": fit_pq,
    "rbmh": fit_rbmh,
    "deephash": fit_deephash,
}


def read_model(data: bytes) -> CodeModel:
    """Read a stored model of any kind."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        names = set(stored.files)
    if "codewords" in names:
        return SubspaceModel.from_bytes(data)
    return HashModel.from_bytes(data) if "projection" in names else StackModel.from_bytes(data)
