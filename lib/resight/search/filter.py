"""Which images an answer may hold: conditions on their columns and those of their manifest.

Conditions restrict what is returned; the graph, and the images that expand a query, stay whole.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.config import SettingError
from resight.features.fitting.sample import IMAGE_COLUMNS, parse_conditions
from resight.knn.matrix import OpenVectors
from resight.tables import IMAGES

Filter = str | Sequence[str] | Mapping[str, str | int | Sequence[str | int]]
Conditions = Mapping[str, Sequence[str]]


def parse_filter(filter: Filter) -> Conditions:
    """Read ``column=value``, several of them, or a mapping: the allowed values by column.

    >>> parse_filter(["format=png", "format=jpeg", "split=test"])
    {'format': ['png', 'jpeg'], 'split': ['test']}
    >>> parse_filter({"format": "png", "width": [640, 800]})
    {'format': ['png'], 'width': ['640', '800']}
    """
    if isinstance(filter, Mapping):
        check_columns(filter)
        values = {column: [v] if isinstance(v, str | int) else v for column, v in filter.items()}
        return {column: [str(value) for value in some] for column, some in values.items()}
    try:
        conditions = parse_conditions([filter] if isinstance(filter, str) else filter)
    except ValueError as error:
        raise SettingError(str(error).replace("only:", "filter:", 1)) from None
    check_columns(conditions)
    return conditions


def check_columns(conditions: Iterable[str]) -> None:
    """Raise `SettingError` naming a column of `IMAGES` whose values are not compared as written."""
    for column in conditions:
        if column in IMAGES.schema.names and column not in IMAGE_COLUMNS:
            raise SettingError(
                f"filter: {column} holds {IMAGES.schema.field(column).type}; only texts and whole numbers "
                f"are compared: the columns {', '.join(IMAGE_COLUMNS)} and those of the manifest"
            )


def columns_of(conditions: Conditions) -> list[str]:
    """List the columns of `IMAGES` that `allow_images` reads."""
    return [*{"image_id", *(column if column in IMAGE_COLUMNS else "extra" for column in conditions)}]


def allow_images(images: Iterable[pa.RecordBatch], conditions: Conditions, X: OpenVectors) -> np.ndarray:
    """Mark the vectors whose images have one of the allowed values in every column.

    Parameters
    ----------
    images : iterable of RecordBatch
        Rows of `IMAGES` with `columns_of` the conditions, in any order.
    conditions : mapping
        Allowed values by column, whole numbers as they are written; a column that is none of
        `IMAGE_COLUMNS` is one of the manifest.

    Returns
    -------
    allowed : ndarray, (n,) bool
        By ordinal.
    """
    allowed = np.zeros(X.n, bool)
    for batch in images:
        kept = np.ones(batch.num_rows, bool)
        for name, values in conditions.items():
            is_own = name in IMAGE_COLUMNS
            column = batch[name].cast("string") if is_own else pc.map_lookup(batch["extra"], name, "first")
            kept &= pc.is_in(column, pa.array(values, pa.string())).to_numpy(zero_copy_only=False)
        ordinals = X.ordinal_of(batch["image_id"].to_numpy()[kept])
        allowed[ordinals[ordinals >= 0]] = True
    return allowed
