"""A graph of images as one matrix, from its tables: for jobs that run in one process."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity

__all__ = ["ImageGraph", "assemble_graph"]


class ImageGraph(NamedTuple):
    """Nodes that have a vector of their own, and the images that they stand for.

    Parameters
    ----------
    S : csr_array, (n, n) float64
        Normalised affinity.
    image_ids : ndarray, (m,) int64
        Ascending.
    nodes : ndarray, (m,) int64
        Row of ``S`` that stands for each image: its own, or that of the image whose copy it is.
    """

    S: sp.csr_array
    image_ids: np.ndarray
    nodes: np.ndarray


def assemble_graph(nodes: pa.Table, edges: Iterable[pa.RecordBatch]) -> ImageGraph:
    """Lay out rows of ``nodes`` (``node_id, image_id, dup_of``) and ``edges`` as one matrix."""
    stands = pc.coalesce(nodes["dup_of"], nodes["node_id"]).to_numpy()
    ids = np.unique(stands)
    parts = [
        (batch["src"].to_numpy(), batch["dst"].to_numpy(), batch["affinity"].to_numpy()) for batch in edges
    ]
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    src, dst, affinity = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    places = (np.searchsorted(ids, src), np.searchsorted(ids, dst))
    A = sp.csr_array((affinity, places), shape=(len(ids), len(ids)))
    images = pc.coalesce(nodes["image_id"], nodes["node_id"]).to_numpy()
    order = np.argsort(images, kind="stable")
    return ImageGraph(normalize_affinity(A).S, images[order], np.searchsorted(ids, stands[order]))
