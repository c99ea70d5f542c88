"""Train a network on mined tuples, as a backbone that extract-features takes by name."""

import hashlib
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight import files
from resight.cli import run
from resight.config import Meta, SettingError, digest_of
from resight.features.settings import ExtractSettings
from resight.features.trained import ROLE, TrainedNetwork, resolve_backbone
from resight.job import Input, job
from resight.jobs.extract_features import NETWORK
from resight.store import TableStore
from resight.tables import (
    DUPLICATE_GROUPS,
    IMAGES,
    MODELS,
    SOURCES,
    TRAINING_LOG,
    TRAINING_POOLS,
    TRAINING_TUPLES,
)
from resight.training.examples import Examples, list_examples
from resight.training.settings import TrainSettings
from resight.training.worker import Outcome, run_training, write_plan
from resight.writer import write_rows

PHOTO = ["image_id", "root", "uri", "byte_offset", "n_bytes", "content_hash"]
POOL = ["anchor", "item", "role"]


class TrainConfig(TrainSettings, frozen=True):
    """Settings of ``train-network``."""

    tuples: Annotated[str, Meta(description="build of mine-pairs; default: the newest")] = ""
    duplicates: Annotated[
        str, Meta(description="build of find-duplicates, whose copies are no negatives; default: the newest")
    ] = ""

    def train_settings(self, backbone: str) -> TrainSettings:
        """Give the part that the kernels know, with the file of a ``backbone`` in the place of its name."""
        names = TrainSettings.__struct_fields__
        return TrainSettings(**{name: getattr(self, name) for name in names} | {"backbone": backbone})

    @property
    def network(self) -> str:
        """Build of the trained network that the training goes on with, or ""."""
        return self.backbone if self.extract_settings().is_named else ""

    def extract_settings(self) -> ExtractSettings:
        """Give the backbone as ``extract-features`` knows it."""
        return ExtractSettings(backbone=self.backbone, weights=self.weights)

    def content(self) -> dict[str, Any]:
        """Give what decides the network; a weight file counts by its content, not its path."""
        return super().content() | {"backbone": self.extract_settings().content()["backbone"]}

    def weights_digest(self) -> str:
        """Hash the weights that the training begins with; a trained network is told by its build."""
        from resight.features.backbones import weights_sha256

        return weights_sha256(self.extract_settings())

    def build_name(self) -> str:
        """Name the build by what it trains, such as ``lite0-trained``."""
        return f"{self.backbone.split(':')[-1].split('/')[-1].removesuffix('-trained')}-trained"


@job(
    "train-network",
    TrainConfig,
    reads=(
        Input(TRAINING_TUPLES, "tuples"),
        Input(TRAINING_POOLS, "tuples"),
        Input(DUPLICATE_GROUPS, "duplicates", optional=True),
        NETWORK,
        IMAGES,
        SOURCES,
    ),
    writes=(MODELS, TRAINING_LOG),
    engine="local",
)
def main(store: TableStore, conf: TrainConfig) -> None:
    """Train once, in one process or several; needs no Spark, and goes on after an interruption.

    The network is a file of the workspace, named in ``models``; with --whitening-dims there is also a
    whitening, which extract-features --whitening takes by the same name.
    """
    if store.run.previous is not None:
        return
    parents = {key: run.build_id for key, run in store.run.inputs.items()}
    settings, _ = resolve_backbone(store.reader, conf.extract_settings(), parents)
    examples = find_examples(store)
    folder = store.staging(digest_of([conf.digest, sorted(parents.items()), digest_tuples(store)]))
    write_plan(folder, conf.train_settings(settings.backbone), examples, list_photos(store, examples))
    try:
        outcome = run_training(folder, processes=conf.processes)
    except ValueError as error:
        raise SettingError(f"--tuples: {error}") from None
    keep_network(store, conf, folder, outcome)


def digest_tuples(store: TableStore) -> str:
    """Say which version of the tuples is trained on: a training on others does not go on."""
    return store.run.inputs[TRAINING_TUPLES.name].outputs[TRAINING_TUPLES.name].digest


def find_examples(store: TableStore) -> Examples:
    """Read tuples, pools and copies."""
    reader = store.reader
    tuples = reader.read(TRAINING_TUPLES)
    if not len(tuples):
        raise SettingError("--tuples: mine-pairs found none")
    pools = reader.read(TRAINING_POOLS, columns=POOL, filter=pc.field("role") == "negative")
    groups = None
    if DUPLICATE_GROUPS.name in store.run.inputs:
        named = [tuples[name] for name in ("anchor", "positive", "negative")] + [pools["item"]]
        ids = pc.unique(pa.chunked_array([chunk for column in named for chunk in column.chunks], pa.int64()))
        of_them = pc.field("image_id").isin(ids)
        groups = reader.read(DUPLICATE_GROUPS, columns=["group_id", "image_id"], filter=of_them)
    try:
        return list_examples(tuples, pools, groups)
    except ValueError as error:
        raise SettingError(f"--tuples: {error}") from None


def list_photos(store: TableStore, examples: Examples) -> pa.Table:
    """Say where the bytes of every photo lie, in the order of the rows of ``examples``."""
    ids = pa.array(examples.image_ids)
    names = [name for name in PHOTO if name != "root"]
    images = store.reader.read(IMAGES, columns=["source_id", *names], filter=pc.field("image_id").isin(ids))
    rooted = images.join(store.reader.read(SOURCES, columns=["source_id", "root"]), "source_id")
    found = rooted.select(PHOTO).sort_by("image_id").combine_chunks()
    if not np.array_equal(found["image_id"].to_numpy(), examples.image_ids):
        lost = np.setdiff1d(examples.image_ids, found["image_id"].to_numpy())
        raise SettingError(f"--tuples: the collection has no image {lost[0]}: mine pairs again")
    return found


def keep_network(store: TableStore, conf: TrainConfig, folder: str, outcome: Outcome) -> None:
    """Keep the network as a file beside the tables, and write the rows that name it."""
    packed = files.read_bytes(files.join(folder, outcome.network))
    sha256 = hashlib.sha256(packed).hexdigest()
    path = files.join("shards", f"{MODELS.name}-{store.run.build_id}", f"{sha256}.safetensors")
    files.write_bytes(files.join(store.workspace.root, path), packed)
    p = outcome.p if outcome.p is not None else conf.p
    network = TrainedNetwork(path, sha256, conf.pooling, p, conf.longer_side)
    models = [{"kind": ROLE, "params": network.to_bytes()}]
    if outcome.whitening:
        params = files.read_bytes(files.join(folder, outcome.whitening))
        models.append({"kind": "whitening", "params": params})
    fields = [f for f in TRAINING_LOG.schema if f.name != "build_id"]
    log = pa.Table.from_pylist(outcome.log, schema=pa.schema(fields))
    write_rows(store.workspace, store.run, MODELS, pa.Table.from_pylist(models))
    write_rows(store.workspace, store.run, TRAINING_LOG, log)
    store.note(**describe_outcome(outcome))


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """Sum a training up for its summary line."""
    maps = {row["epoch"]: row["map"] for row in outcome.log if row["map"] is not None}
    figures: dict[str, Any] = {"anchors": outcome.n_anchors, "epoch": outcome.epoch}
    figures |= {"unreadable": outcome.failures} if outcome.failures else {}
    figures |= {"p": round(outcome.p, 4)} if outcome.p is not None else {}
    if maps:
        figures |= {"map_before": round(maps[0], 4), "map": round(maps[outcome.epoch], 4)}
    return figures | {"device": outcome.device, "precision": outcome.precision}


if __name__ == "__main__":
    run(main)
