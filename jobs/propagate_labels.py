"""Spread the labels of a few images over the graph, with a certainty for every image."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.cli import run
from resight.config import Config, Meta, SettingError
from resight.graph.builds import of_regions
from resight.job import Input, job
from resight.labels.known import Known, locate_labels, read_labels
from resight.store import TableStore
from resight.tables import EDGES, IMAGE_LABELS, IMAGES, NODES
from resight.writer import write_rows

if TYPE_CHECKING:
    from resight.labels.graph import ImageGraph
    from resight.labels.propagate import Propagated

MAX_NODES = 20_000_000  # the matrix of more does not fit one process


class PropagateConfig(Config, frozen=True):
    """Settings of ``propagate-labels``."""

    labels: Annotated[str, Meta(description="CSV of known labels: uri, label")]
    graph: Annotated[str, Meta(description="build of the graph; default: the newest")] = ""
    alpha: Annotated[float, Meta(gt=0, lt=1, description="weight of the neighbours")] = 0.99
    tol: Annotated[float, Meta(gt=0, lt=1, description="relative residual of the systems")] = 1e-6
    per_class: Annotated[
        bool, Meta(description="labels of a class together count as much as those of any other")
    ] = True

    def weights_digest(self) -> str:
        """Hash the labels: others are another build."""
        try:
            return hashlib.sha256(Path(self.labels).read_bytes()).hexdigest()
        except OSError as error:
            raise SettingError(f"--labels: {error}") from None


@job(
    "propagate-labels",
    PropagateConfig,
    reads=(*(Input(t, "graph", kind=lambda graph: not of_regions(graph)) for t in (EDGES, NODES)), IMAGES),
    writes=(IMAGE_LABELS,),
    engine="local",
)
def main(store: TableStore, conf: PropagateConfig) -> None:
    """Solve one linear system per class over the whole graph, in one process without Spark.

    An image gets the class whose labels reach it most, a certainty, and the weight that a training gives it;
    images that no label reaches get none.
    """
    from resight.labels.propagate import propagate_labels

    known, graph = read_labels(conf.labels), read_graph(store)
    columns, present = ["image_id", "uri"], pc.field("removed_at").is_null()
    images = store.reader.read(IMAGES, columns=columns, filter=present)
    names = sorted(set(known.labels))
    if len(names) < 2:
        raise SettingError(f"--labels: two labels at least are needed, {conf.labels} has {len(names)}")
    found = known_of(known, locate_labels(known, images), names, graph.image_ids)
    given = np.full(graph.S.shape[0], -1)
    has = found >= 0
    given[graph.nodes[has]] = found[has]  # of copies with several labels, that of the last image
    if not has.any():
        raise SettingError(f"--labels: no image of the graph has a uri of {conf.labels}")
    solved = propagate_labels(
        graph.S, given, n_classes=len(names), alpha=conf.alpha, tol=conf.tol, per_class=conf.per_class
    )
    rows = lay_out(graph, found, solved, names)
    write_rows(store.workspace, store.run, IMAGE_LABELS, rows)
    store.note(classes=len(names), given=int(has.sum()), reached=pc.count(rows["label"]).as_py())
    unknown = len(known.uris) - int(has.sum())
    store.note(residual=solved.residual, **({"unknown_uris": unknown} if unknown else {}))


def read_graph(store: TableStore) -> "ImageGraph":
    """Lay the graph out in the memory of this process."""
    from resight.labels.graph import assemble_graph

    n_nodes = store.run.inputs[NODES.name].outputs[NODES.name].n_rows
    if n_nodes > MAX_NODES:
        raise SettingError(f"--graph: {n_nodes} nodes, more than {MAX_NODES} are not solved in one process")
    nodes = store.reader.read(NODES, columns=["node_id", "image_id", "dup_of"])
    return assemble_graph(nodes, store.reader.batches(EDGES))


def known_of(known: Known, located: np.ndarray, names: list[str], image_ids: np.ndarray) -> np.ndarray:
    """Give the number of the known label of every image, (m,) int64; -1 without one.

    Raises
    ------
    SettingError
        An image has two labels.
    """
    found = np.full(len(image_ids), -1)
    for uri, label, image_id in zip(known.uris, known.labels, located.tolist(), strict=True):
        row = int(np.searchsorted(image_ids, image_id))
        if row == len(image_ids) or image_ids[row] != image_id:
            continue
        if found[row] >= 0 and names[found[row]] != label:
            raise SettingError(f"--labels: {uri} has the labels {names[found[row]]!r} and {label!r}")
        found[row] = names.index(label)
    return found


def lay_out(graph: "ImageGraph", given: np.ndarray, solved: "Propagated", names: list[str]) -> pa.Table:
    """Lay out rows of ``image_labels``: those of a node go to all images that it stands for."""
    nodes = graph.nodes
    labels = np.where(given >= 0, given, solved.labels[nodes])
    certainty = np.where(given >= 0, 1.0, solved.certainty[nodes])
    weight = certainty * np.where(labels >= 0, solved.class_weights[labels], 0.0)
    return pa.table(
        {
            "image_id": graph.image_ids,
            "label": name_classes(labels, names),
            "is_given": given >= 0,
            "propagated": name_classes(solved.propagated[nodes], names),
            "certainty": certainty.astype(np.float32),
            "margin": solved.margin[nodes].astype(np.float32),
            "weight": weight.astype(np.float32),
        }
    )


def name_classes(classes: np.ndarray, names: list[str]) -> pa.Array:
    """Give the names of classes (m,); null for -1."""
    places = pa.array(np.maximum(classes, 0), mask=classes < 0)
    return pa.array(names, pa.string()).take(places)


if __name__ == "__main__":
    run(main)
