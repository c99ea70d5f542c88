"""Notebook 05: things that recur in the collection though no one named them."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.report.markup import format_count
from resight.report.source import keep_first
from resight.tables import OBJECT_INSTANCES, OBJECTS, SALIENCY_MAPS
from resight.viz.charts import draw_histogram
from resight.viz.figure import Picture
from resight.viz.look.workspace import Look, Sentence, needs, write_notes
from resight.viz.objects import crop_box, draw_saliency, draw_wall
from resight.viz.pictures import Shown, Strip

__all__ = ["describe_objects", "draw_instances", "draw_maps", "draw_objects", "draw_sizes"]

NO_OBJECTS = "No objects were looked for yet: run `resight discover-objects`."
ORDER = [("n_images", "descending"), ("score", "descending"), ("object_id", "ascending")]
INSTANCE = ["object_id", "image_id", "region_ix", "y0", "x0", "y1", "x1", "score"]


@needs(OBJECTS, NO_OBJECTS)
def describe_objects(look: Look) -> Sentence:
    """Say how many objects were found, in how many boxes."""
    run = look.tables.find(OBJECTS)
    boxes = run.outputs[OBJECT_INSTANCES.name].n_rows if OBJECT_INSTANCES.name in run.outputs else 0
    n = format_count(run.outputs[OBJECTS.name].n_rows, "object")
    words = f"Build `{run.name or run.build_id}`: {n} in {format_count(boxes, 'box', 'boxes')}."
    return Sentence(words + write_notes(run.notes))


def read_objects(look: Look, n: int) -> list[tuple[dict, list[dict]]]:
    """Read the most frequent objects, each with its instances, the best first, one of an image."""
    columns = ["object_id", "n_images", "n_instances", "score"]
    found = keep_first(look.source.batches(OBJECTS, columns), n, ORDER)
    rows = found.to_pylist() if found is not None else []
    ids = np.array([row["object_id"] for row in rows], np.int64)
    parts: dict[int, dict[int, dict]] = {int(i): {} for i in ids}
    boxes = look.read(OBJECT_INSTANCES, INSTANCE, "object_id", ids)
    for row in boxes.sort_by([("score", "descending"), ("image_id", "ascending")]).to_pylist():
        parts[row["object_id"]].setdefault(row["image_id"], row)
    return [(row, [*parts[row["object_id"]].values()]) for row in rows]


def show_instance(look: Look, row: dict) -> Shown:
    """Give the photo of an instance with its box."""
    box = (row["y0"], row["x0"], row["y1"], row["x1"])
    return look.album.show(row["image_id"], boxes=[(box, "")])


@needs(OBJECTS, NO_OBJECTS)
def draw_objects(look: Look, n: int = 10, depth: int = 10) -> Picture:
    """Draw a wall of the most frequent objects, each cut out of the photos that show it best."""
    strips = []
    for row, instances in read_objects(look, n):
        look.album.load(instance["image_id"] for instance in instances[:depth])
        shown = [show_instance(look, instance) for instance in instances[:depth]]
        cuts = [crop_box(photo, photo.boxes[0]) if photo.boxes else photo for photo in shown]
        words = f"score {row['score']:.2f}, {format_count(row['n_instances'], 'box', 'boxes')}"
        strips.append(Strip(cuts, format_count(row["n_images"], "photo"), words))
    return draw_wall(strips, title="What recurs most")


@needs(OBJECTS, NO_OBJECTS)
def draw_instances(look: Look, place: int = 0, depth: int = 12) -> Picture:
    """Draw whole photos that show one object, the most frequent (``place`` 0) or a later one."""
    found = read_objects(look, place + 1)[place:]
    strips = []
    for row, instances in found:
        look.album.load(instance["image_id"] for instance in instances[:depth])
        shown = [show_instance(look, instance) for instance in instances[:depth]]
        strips.append(Strip(shown, format_count(row["n_images"], "photo"), f"object {row['object_id']}"))
    return draw_wall(strips, title="One object", height=1.2)


@needs(OBJECTS, NO_OBJECTS)
def draw_sizes(look: Look) -> Picture:
    """Draw in how many photos objects are."""
    counts = Counter[int]()
    for batch in look.source.batches(OBJECTS, ["n_images"]):
        counts.update(batch["n_images"].to_pylist())
    sizes = np.repeat(np.array([*counts], float), np.array([*counts.values()], int))
    return draw_histogram({"objects": sizes}, x="photos that show an object", title="How often objects recur")


@needs(SALIENCY_MAPS, NO_OBJECTS)
def draw_maps(look: Look, n: int = 6, *, column: str = "objects") -> Picture | Sentence:
    """Draw some photos under their map of what recurs (``objects``) or of what is salient (``features``)."""
    fine = (pc.field("status") == "ok") & (pc.field("n_regions") > 0)
    drawn = look.source.draw(SALIENCY_MAPS, "image_id", n, filter=fine)[0]
    rows = look.read(SALIENCY_MAPS, ["image_id", "height", "width", column], "image_id", drawn)
    boxes = read_boxes(look, drawn)
    look.album.load(drawn.tolist())
    shown = []
    for row in rows.to_pylist():
        values = np.frombuffer(row[column], "<f4").reshape(row["height"], row["width"])
        shown.append((look.album.show(row["image_id"], boxes=boxes.get(row["image_id"], ())), values))
    if not shown:
        return Sentence("No photo has a map with something that recurs.")
    return draw_saliency(shown, title=TITLES.get(column, column))


TITLES = {"objects": "What recurs in the collection", "features": "What is salient in a photo by itself"}
Boxes = dict[int, list[tuple[tuple[float, float, float, float], str]]]


def read_boxes(look: Look, image_ids: np.ndarray) -> Boxes:
    """Read the boxes of some images."""
    found: Boxes = {}
    if look.tables.has(OBJECT_INSTANCES):
        rows: pa.Table = look.read(OBJECT_INSTANCES, INSTANCE, "image_id", image_ids)
        for row in rows.to_pylist():
            box = (row["y0"], row["x0"], row["y1"], row["x1"])
            found.setdefault(row["image_id"], []).append((box, ""))
    return found
