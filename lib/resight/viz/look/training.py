"""Notebook 06: how a training went, and what it changed."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from resight.config import SettingError
from resight.tables import GLOBAL_DESCRIPTORS, TRAINING_LOG
from resight.viz.charts import draw_training
from resight.viz.figure import Picture
from resight.viz.look.search import NO_VECTORS
from resight.viz.look.workspace import Look, Sentence, needs, open_workspace
from resight.viz.rankings import draw_methods, overlap_lists

__all__ = ["draw_before_after", "draw_curves", "list_epochs"]

NO_TRAINING = "No network was trained yet: run `resight train-network`."


@needs(TRAINING_LOG, NO_TRAINING)
def draw_curves(look: Look) -> Picture:
    """Draw the loss of every epoch, the quality on the validation, and the exponent of pooling."""
    log = pa.Table.from_pandas(epochs_of(look), preserve_index=False)
    curves = {"Loss": ["loss"], "Mean average precision": ["map"], "Exponent p of GeM": ["p"]}
    return draw_training(log, step="epoch", curves=curves)


@needs(TRAINING_LOG, NO_TRAINING)
def list_epochs(look: Look) -> pd.DataFrame:
    """List the epochs: mean loss, learning rate and exponent at the end, quality on the validation."""
    return epochs_of(look).round(5)


def epochs_of(look: Look) -> pd.DataFrame:
    """Give a row per epoch, the one before the training included."""
    rows = look.source.read(TRAINING_LOG, ["epoch", "step", "loss", "learning_rate", "p", "map"]).to_pandas()
    rows = rows.sort_values(["epoch", "step"])
    last = rows.groupby("epoch", sort=True)
    table = last[["learning_rate", "p", "map"]].last()  # the last value that is not null
    table.insert(0, "loss", last["loss"].mean())
    return table.reset_index()


def draw_before_after(
    root: str, before: str, after: str, *, n: int = 200, place: int = 0, depth: int = 8
) -> Picture | Sentence:
    """Draw what two descriptors answer to a photo: the one of many about which they differ most.

    ``before`` and ``after`` name builds of descriptors of the workspace at ``root``.
    """
    if not before or not after or before == after:
        return Sentence("Name two builds of descriptors to compare: one before the training, one after it.")
    looks = {name: open_workspace(root, descriptors=name) for name in (before, after)}
    look, fine = looks[before], pc.field("status") == "ok"
    try:
        drawn = look.source.draw(GLOBAL_DESCRIPTORS, "image_id", n, filter=fine, build=before)[0]
        lists = {name: ask(other, drawn, depth) for name, other in looks.items()}
    except SettingError as error:
        return Sentence(f"Not compared: {error}")
    shared = [overlap_lists(*(lists[name][i] for name in looks)) for i in range(len(drawn))]
    if not shared:
        return Sentence(NO_VECTORS)
    query = int(np.argsort(shared, kind="stable")[min(place, len(shared) - 1)])
    image = int(drawn[query])
    words = f"{look.album.name(image)}: {100 * shared[query]:.0f} % of the first {depth} stay"
    photo = look.album.show(image)
    return draw_methods(
        photo, {name: lists[name][query] for name in lists}, look.album, depth=depth, title=words
    )


def ask(look: Look, image_ids: np.ndarray, depth: int) -> list[np.ndarray]:
    """Give the nearest images of some of the collection."""
    rows = look.searcher.search(image_ids.tolist(), depth=depth).results
    query, found = rows["query"].to_numpy(), rows["image_id"].to_numpy()
    order = np.lexsort((rows["rank"].to_numpy(), query))
    starts = np.searchsorted(query[order], np.arange(len(image_ids) + 1))
    return [found[order][a:b] for a, b in pairwise(starts.tolist())]
