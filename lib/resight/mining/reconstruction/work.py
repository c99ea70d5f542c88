"""One model, or one block of queries, of the mining from reconstructions: rows in, rows out."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from resight.arrow import arrow_to_lists, lists_to_arrow
from resight.knn.matrix import VectorFiles
from resight.mining.clusters import bind_nodes, choose_validation
from resight.mining.placing import TRAIN, VALIDATION
from resight.mining.reconstruction.colmap import ModelError, read_model
from resight.mining.reconstruction.covisible import (
    Covisible,
    are_eligible,
    draw_queries,
    draw_some,
    pair_images,
)
from resight.mining.reconstruction.nearest import find_negatives

SEEN = pa.schema(  # an image of a model
    [
        ("model", pa.int64()),
        ("name", pa.string()),
        ("x", pa.float64()),  # of the camera, in the frame of the model
        ("y", pa.float64()),
        ("z", pa.float64()),
        ("n_points", pa.int32()),
        ("points", pa.binary()),  # int64, ascending
        ("sizes", pa.binary()),  # float64
        ("error", pa.string()),  # of a model that cannot be read: then all but its number is null
    ]
)
PAIRED = pa.schema(  # a query and an image of its model
    [
        ("anchor", pa.int64()),
        ("item", pa.int64()),
        ("model", pa.int64()),
        ("kind", pa.string()),  # query (item is itself), positive, extra (anchor is itself)
        ("n_common", pa.int32()),
        ("overlap", pa.float32()),
        ("scale", pa.float32()),
    ]
)
HARD = pa.schema(
    [("anchor", pa.int64()), ("item", pa.int64()), ("model", pa.int64()), ("similarity", pa.float32())]
)
QUERY, POSITIVE, EXTRA = "query", "positive", "extra"
NAMES = ("image_id", "model", "copy_key")


def read_seen(folder: str, number: int) -> pa.Table:
    """Read a model: `SEEN` rows, a single one with the error where it is damaged."""
    try:
        model = read_model(folder)
    except ModelError as error:
        return pa.Table.from_pylist([{"model": number, "error": str(error)}], schema=SEEN)
    columns = {
        "model": np.full(len(model.names), number),
        "name": model.names,
        **dict(zip("xyz", model.centres.T, strict=True)),
        "n_points": np.diff(model.offsets).astype(np.int32),
        "points": lists_to_arrow(model.offsets, model.points),
        "sizes": lists_to_arrow(model.offsets, model.sizes),
        "error": pa.nulls(len(model.names), pa.string()),
    }
    return pa.table(columns, schema=SEEN)


@dataclass(frozen=True)
class ModelWork:
    """How the images of a model are paired; see `resight.mining.reconstruction.covisible`.

    ``rule`` says what a positive must be: ``scale`` or ``most_common`` or ``nearest`` among the ``k`` nearest
    cameras. ``n_extra`` further images of each model may be negatives of others.
    """

    k: int = 100
    rule: str = "scale"
    min_overlap: float = 0.2
    max_scale: float = 1.5
    share: float = 0.1
    most: int = 30
    n_extra: int = 20
    seed: int = 0

    def __call__(self, images: pa.Table) -> pa.Table:
        """Pair the images of one model, `SEEN` columns and ``image_id``, ``copy_key``: `PAIRED` rows.

        Images of one copy key are never a pair.
        """
        images = images.sort_by("image_id")
        ids, keys = images["image_id"].to_numpy(), images["copy_key"].to_numpy()
        offsets, points = arrow_to_lists(images["points"], "int64")
        sizes = arrow_to_lists(images["sizes"], "float64")[1]
        centres = np.stack([images[name].to_numpy() for name in "xyz"], axis=1)
        queries = draw_queries(ids, share=self.share, most=self.most, seed=self.seed)
        pairs = pair_images(queries, ids, centres, offsets, points, sizes, k=self.k)
        chosen = self.choose(pairs) & (keys[pairs.query] != keys[pairs.item])
        kept = Covisible(*(column[chosen] for column in pairs))
        extra = draw_some(ids, self.n_extra, seed=self.seed + 1)
        parts = [
            (QUERY, queries, queries, None),
            (POSITIVE, kept.query, kept.item, kept),
            (EXTRA, extra, extra, None),
        ]
        model = int(images["model"][0].as_py())
        return pa.concat_tables([lay_out(ids, model, *part) for part in parts])

    def choose(self, pairs: Covisible) -> np.ndarray:
        """Mark (m,) bool the pairs that the rule takes."""
        if self.rule == "nearest":
            return np.ones(len(pairs.query), bool)
        if self.rule == "most_common":
            return pairs.n_common > 0
        return are_eligible(pairs, min_overlap=self.min_overlap, max_scale=self.max_scale)


def lay_out(
    ids: np.ndarray, model: int, kind: str, anchor: np.ndarray, item: np.ndarray, pairs: Covisible | None
) -> pa.Table:
    """Make the `PAIRED` rows of one kind."""
    n = len(anchor)
    known = {name: pa.nulls(n, PAIRED.field(name).type) for name in ("n_common", "overlap", "scale")}
    if pairs is not None:
        scale = pa.array(pairs.scale.astype(np.float32), mask=np.isnan(pairs.scale))
        known = {
            "n_common": pairs.n_common.astype(np.int32),
            "overlap": pairs.overlap.astype(np.float32),
            "scale": scale,
        }
    columns = {"anchor": ids[anchor], "item": ids[item], "model": np.full(n, model), "kind": [kind] * n}
    return pa.table(columns | known, schema=PAIRED)


@dataclass(frozen=True)
class NegativeWork:
    """Find the ``n`` most similar images of other models, at most one of each with ``per_model``."""

    vectors: VectorFiles
    n: int
    per_model: bool = True

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Compare queries (``is_query``) with candidates, rows (image_id, model, copy_key): `HARD` rows."""
        X, is_query = self.vectors.open(), rows["is_query"].to_numpy(zero_copy_only=False)
        sides = [rows.filter(pa.array(chosen)).sort_by("image_id") for chosen in (is_query, ~is_query)]
        ids, models, keys = ([side[name].to_numpy() for side in sides] for name in NAMES)
        ordinals = [X.ordinal_of(one) for one in ids]
        known = [ordinal >= 0 for ordinal in ordinals]
        ids, models, keys, ordinals = (
            [column[there] for column, there in zip(columns, known, strict=True)]
            for columns in (ids, models, keys, ordinals)
        )
        Q, C = (X.gather(ordinal).astype(np.float64) for ordinal in ordinals)
        similarity = Q @ C.T
        forbidden = (models[0][:, None] == models[1]) | (keys[0][:, None] == keys[1])
        row, column = find_negatives(
            similarity, forbidden, models[1], ids[1], n=self.n, per_model=self.per_model
        )
        columns = [ids[0][row], ids[1][column], models[1][column], similarity[row, column].astype(np.float32)]
        return pa.table(columns, schema=HARD)


@dataclass(frozen=True)
class SplitWork:
    """Choose the models that validate; models that ``links`` bind are on one side."""

    validation: float = 0.2
    seed: int = 0

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Give rows (model, split).

        ``rows`` (a, b, weight) are a model with itself and what it counts, or two models that are bound.
        """
        rows = rows.sort_by([("a", "ascending"), ("b", "ascending")])
        a, b, weight = (rows[name].to_numpy() for name in ("a", "b", "weight"))
        models, places = np.unique(np.concatenate([a, b]), return_inverse=True)
        ends = places.reshape(2, -1)
        unit = bind_nodes(len(models), *ends)
        weights = np.bincount(unit, np.bincount(ends[0], weight, len(models))).astype(np.int64)
        chosen = choose_validation(weights, share=self.validation, seed=self.seed)
        return pa.table({"model": models, "split": np.where(chosen[unit], VALIDATION, TRAIN)})
