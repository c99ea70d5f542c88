"""Say how far the noisy labels of images are to be believed, from a few that somebody has looked at."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.arrow import arrow_to_vectors
from resight.cli import run
from resight.config import Config, Meta, SettingError
from resight.job import Input, job
from resight.labels.known import locate_labels, read_labels
from resight.store import TableStore
from resight.tables import GLOBAL_DESCRIPTORS, IMAGES, LABEL_RELEVANCES
from resight.writer import write_rows


class CleanConfig(Config, frozen=True):
    """Settings of ``clean-labels``."""

    labels: Annotated[str, Meta(description="CSV: uri, label, clean (yes where somebody has looked)")]
    descriptors: Annotated[str, Meta(description="build of the descriptors; default: the newest")] = ""
    noise_weight: Annotated[
        float, Meta(ge=0, description="how firmly noisy labels are taken for wrong; 0: by the clean ones")
    ] = 0.0
    max_images: Annotated[
        int, Meta(ge=2, description="of a class; of more, those nearest to the clean ones take part")
    ] = 20_000
    seed: Annotated[int, Meta(ge=0, description="of the networks")] = 0

    def weights_digest(self) -> str:
        """Hash the labels: others are another build."""
        try:
            return hashlib.sha256(Path(self.labels).read_bytes()).hexdigest()
        except OSError as error:
            raise SettingError(f"--labels: {error}") from None


@job(
    "clean-labels",
    CleanConfig,
    reads=(Input(GLOBAL_DESCRIPTORS, "descriptors"), IMAGES),
    writes=(LABEL_RELEVANCES,),
    engine="local",
)
def main(store: TableStore, conf: CleanConfig) -> None:
    """Train a small graph network for every class, in one process without Spark.

    A class without a clean image is reported and left as it is: its images have no relevance.
    """
    reader, known = store.reader, read_labels(conf.labels)
    images = reader.read(IMAGES, columns=["image_id", "uri"], filter=pc.field("removed_at").is_null())
    located = locate_labels(known, images)
    wanted = pc.field("image_id").isin(pa.array(np.unique(located))) & (pc.field("status") == "ok")
    described = reader.read(GLOBAL_DESCRIPTORS, columns=["image_id", "vector"], filter=wanted)
    if not len(described):
        raise SettingError(f"--labels: no image with a descriptor has a uri of {conf.labels}")
    described = described.sort_by("image_id")
    X = arrow_to_vectors(described["vector"], reader.properties(GLOBAL_DESCRIPTORS)["dtype"])
    ids, rows = described["image_id"].to_numpy(), list[dict[str, Any]]()
    for name in sorted(set(known.labels)):
        chosen = [i for i, label in enumerate(known.labels) if label == name]
        is_clean = {int(located[i]): False for i in chosen}
        is_clean |= {int(located[i]): True for i in chosen if known.clean[i]}
        members = np.intersect1d(ids, np.array(list(is_clean), np.int64))
        clean = np.array([is_clean[int(m)] for m in members], bool)
        rows += clean_rows(X[np.searchsorted(ids, members)], members, clean, name, conf)
    fields = [field for field in LABEL_RELEVANCES.schema if field.name != "build_id"]
    write_rows(
        store.workspace, store.run, LABEL_RELEVANCES, pa.Table.from_pylist(rows, schema=pa.schema(fields))
    )
    store.note(classes=len(set(known.labels)), unknown_uris=int((located < 0).sum()))


def clean_rows(
    X: np.ndarray, members: np.ndarray, clean: np.ndarray, name: str, conf: CleanConfig
) -> list[dict[str, Any]]:
    """Clean one class: vectors (n, d) of its images, which of them are clean."""
    from resight.labels.clean import clean_class

    X = unit_rows(X)
    order = np.argsort(~clean, kind="stable")  # the clean first
    n_clean, status = int(clean.sum()), "no_clean"
    relevance = np.full(len(members), np.nan)
    if n_clean:
        near = X[order[n_clean:]] @ X[order[:n_clean]].sum(0)
        kept = np.sort(np.argsort(-near, kind="stable")[: max(conf.max_images - n_clean, 0)])
        part = np.concatenate([order[:n_clean], order[n_clean:][kept]])
        weight = conf.noise_weight or None
        seed = conf.seed + int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)  # other classes may come
        cleaned = clean_class(X[part], n_clean, noise_weight=weight, seed=seed)
        relevance[:], status = 0.0, cleaned.status
        relevance[part] = cleaned.relevance
    return [
        {
            "image_id": int(members[i]),
            "label": name,
            "is_clean": bool(clean[i]),
            "relevance": None if np.isnan(relevance[i]) else float(relevance[i]),
            "status": status,
        }
        for i in range(len(members))
    ]


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Scale rows (n, d) to unit length, float64; zero rows stay zero."""
    X = X.astype(np.float64)
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    run(main)
