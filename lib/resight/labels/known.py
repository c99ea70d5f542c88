"""The labels that people know: a CSV file, and the rows of a collection that it means."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from resight.config import SettingError
from resight.evaluation.ground_truth import read_csv

__all__ = ["Known", "locate_labels", "read_labels"]

YES, NO = {"1", "yes", "true"}, {"", "0", "no", "false"}


class Known(NamedTuple):
    """Labels of images.

    Parameters
    ----------
    uris : list of str
        An image each.
    labels : list of str
        Of the image.
    clean : list of bool
        Whether somebody has looked at it.
    """

    uris: list[str]
    labels: list[str]
    clean: list[bool]


def read_labels(file: str) -> Known:
    """Read ``uri, label[, clean]`` from a CSV file; ``clean`` is yes or no, 1 or 0.

    Raises
    ------
    SettingError
        The file cannot be read, or a row lacks something; it names the line.
    """
    found = Known([], [], [])
    for where, row in read_csv(Path(file), ("uri", "label")):
        word = row.get("clean", "").strip().lower()
        if not row["uri"] or not row["label"]:
            raise SettingError(f"{where}: a row needs a uri and a label")
        if word not in YES | NO:
            raise SettingError(f"{where}: clean is {word!r}; allowed: yes, no, 1, 0")
        found.uris.append(row["uri"])
        found.labels.append(row["label"])
        found.clean.append(word in YES)
    return found


def locate_labels(known: Known, images: pa.Table) -> np.ndarray:
    """Give the id of every labelled image, (l,) int64; -1 where the collection has none of this uri.

    ``images`` has ``image_id, uri``; of several images of one uri, from several sources, the smallest id.
    """
    by_uri: dict[str, int] = {}
    for image_id, uri in zip(images["image_id"].to_pylist(), images["uri"].to_pylist(), strict=True):
        by_uri[uri] = min(image_id, by_uri.get(uri, image_id))
    return np.array([by_uri.get(uri, -1) for uri in known.uris], np.int64)
