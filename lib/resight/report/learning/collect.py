"""From the tables that mining, discovery and training write to their sections."""

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, UnidentifiedImageError

from resight.report.learning.mined import Item, Mined, Pool
from resight.report.learning.objects import Instance, Object, Objects
from resight.report.learning.training import Epoch, Training
from resight.report.sections import Missing, Photo, Section
from resight.report.source import Source, keep_first
from resight.tables import OBJECT_INSTANCES, OBJECTS, TRAINING_LOG, TRAINING_POOLS, TRAINING_TUPLES

__all__ = ["collect_mined", "collect_objects", "collect_training"]

N_ANCHORS, N_OBJECTS, N_SHOWN = 6, 30, 8
MAX_EPOCHS = 200
ROLES = ("positive", "negative")
ITEM = ["anchor", "item", "role", "rank", "source", "reason", "score", "similarity"]
INSTANCE = ["object_id", "image_id", "y0", "x0", "y1", "x1", "score"]
MOST_FREQUENT = [("n_images", "descending"), ("score", "descending"), ("object_id", "ascending")]
MARGIN = 0.1  # of a box, that is shown around it


def collect_mined(source: Source) -> Section:
    """Take the pools of sampled anchors."""
    if not source.reader.has(TRAINING_POOLS):
        words = "No pairs were mined yet: `resight mine-pairs` finds what a network can learn from."
        return Missing("mined", "Pairs to train with", words)
    build = source.reader.find(TRAINING_POOLS).build_id
    positive = pc.field("role") == "positive"
    n_positives = source.count(TRAINING_POOLS, filter=positive)
    n_negatives = source.count(TRAINING_POOLS, filter=~positive)
    drawn, _ = source.draw(TRAINING_POOLS, "anchor", N_ANCHORS, build=build)
    rows = source.look_up(TRAINING_POOLS, ITEM, "anchor", drawn.tolist(), build=build)
    pools = describe_pools(source, rows)
    n_tuples = source.count(TRAINING_TUPLES)
    return Mined(pools, count_anchors(source, n_positives + n_negatives), n_positives, n_negatives, n_tuples)


def count_anchors(source: Source, n_rows: int) -> int:
    """Count the different anchors of the pools."""
    return sum(len(part.ids) for part in source.id_parts(TRAINING_POOLS, "anchor", n_rows))


def describe_pools(source: Source, rows: pa.Table) -> tuple[Pool, ...]:
    """Describe the pools of some anchors, positives before negatives."""
    parts: dict[tuple[int, str], list[dict]] = {}
    for row in rows.sort_by(
        [("anchor", "ascending"), ("rank", "ascending"), ("item", "ascending")]
    ).to_pylist():
        parts.setdefault((row["anchor"], row["role"]), []).append(row)
    shown = [row for found in parts.values() for row in found[:N_SHOWN]]
    photos = source.read_photos([row[name] for row in shown for name in ("anchor", "item")])
    pools = []
    for anchor, role in sorted(parts, key=lambda key: (key[0], ROLES.index(key[1]))):
        found = parts[anchor, role]
        items = (
            Item(photos[row["item"]], row["reason"] or "", row["similarity"], graph_score(row))
            for row in found[:N_SHOWN]
        )
        pools.append(Pool(photos[anchor], role, tuple(items), len(found)))
    return tuple(pools)


def graph_score(row: dict) -> float | None:
    """Give the similarity over the graph of an item; what a label weighs is none."""
    return None if row["source"] == "labels" else row["score"]


def collect_objects(source: Source) -> Section:
    """Take the most frequent objects, cut out of the previews of their best instances."""
    if not source.reader.has(OBJECTS):
        words = "No objects were looked for yet: `resight discover-objects` finds what recurs."
        return Missing("objects", "Things that recur", words)
    build = source.reader.find(OBJECTS).build_id
    columns = ["object_id", "n_images", "n_instances", "score"]
    first = keep_first(source.batches(OBJECTS, columns, build=build), N_OBJECTS, MOST_FREQUENT)
    found = first.to_pylist() if first is not None else []
    ids = [row["object_id"] for row in found]
    boxes = source.look_up(OBJECT_INSTANCES, INSTANCE, "object_id", ids, build=build)
    best = choose_instances(boxes)
    images = {row["image_id"] for rows in best.values() for row in rows}
    photos, jpegs = source.read_photos(images), source.read_previews(images)
    objects = tuple(
        Object(
            row["object_id"],
            row["n_images"],
            row["n_instances"],
            tuple(cut_instances(best.get(row["object_id"], ()), photos, jpegs)),
        )
        for row in found
    )
    return Objects(objects, source.count(OBJECTS))


def choose_instances(boxes: pa.Table) -> dict[int, list[dict]]:
    """Choose the best instances of each object, one of an image."""
    chosen: dict[int, dict[int, dict]] = {}
    for row in boxes.sort_by([("score", "descending"), ("image_id", "ascending")]).to_pylist():
        rows = chosen.setdefault(row["object_id"], {})
        if len(rows) < N_SHOWN:
            rows.setdefault(row["image_id"], row)
    return {number: [*rows.values()] for number, rows in chosen.items()}


def cut_instances(rows: Sequence[dict], photos: dict[int, Photo], jpegs: dict[int, bytes]) -> list[Instance]:
    """Cut the boxes out of previews; those of photos without one are left out."""
    instances = []
    for row in rows:
        photo = photos[row["image_id"]]
        jpeg = cut_box(jpegs.get(row["image_id"], b""), photo, row)
        if jpeg:
            size = row["x1"] - row["x0"], row["y1"] - row["y0"]
            instances.append(Instance(Photo(photo.image_id, photo.uri, *size), jpeg, row["score"]))
    return instances


def cut_box(jpeg: bytes, photo: Photo, row: dict) -> bytes:
    """Cut a box of the whole photo, and a little around it, out of its preview; empty where that fails."""
    if not photo.width or not photo.height:
        return b""
    try:
        with Image.open(io.BytesIO(jpeg)) as image:
            across, down = image.width / photo.width, image.height / photo.height
            dx, dy = MARGIN * (row["x1"] - row["x0"]), MARGIN * (row["y1"] - row["y0"])
            left, right = max(0.0, row["x0"] - dx) * across, min(photo.width, row["x1"] + dx) * across
            top, bottom = max(0.0, row["y0"] - dy) * down, min(photo.height, row["y1"] + dy) * down
            corners = (int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1))
            part = image.convert("RGB").crop(corners)
            file = io.BytesIO()
            part.save(file, "JPEG", quality=85)
            return file.getvalue()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return b""


def collect_training(source: Source) -> Section:
    """Take the epochs of the newest training."""
    if not source.reader.has(TRAINING_LOG):
        words = "No network was trained yet: `resight train-network` learns from the mined pairs."
        return Missing("training", "Training", words)
    run = source.reader.find(TRAINING_LOG)
    rows = source.read(TRAINING_LOG, ["epoch", "step", "loss", "learning_rate", "p", "map"]).sort_by(
        [("epoch", "ascending"), ("step", "ascending")]
    )
    parts: dict[int, list[dict]] = {}
    for row in rows.to_pylist():
        parts.setdefault(row["epoch"], []).append(row)
    epochs = [describe_epoch(number, steps) for number, steps in parts.items()]
    return Training(tuple(epochs[:MAX_EPOCHS]), run.name)


def describe_epoch(number: int, steps: list[dict]) -> Epoch:
    """Sum up the steps of an epoch: the mean loss, and the last of the other figures."""
    losses = [row["loss"] for row in steps if row["loss"] is not None]
    last = {
        name: next((row[name] for row in reversed(steps) if row[name] is not None), None)
        for name in ("learning_rate", "p", "map")
    }
    loss = sum(losses) / len(losses) if losses else None
    return Epoch(number, loss, last["learning_rate"], last["p"], last["map"])
