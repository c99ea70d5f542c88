"""Mined pairs for other tools: CSV, a training set of cirtorch, tar shards of webdataset. No Spark.

A folder gets ``tuples.csv``; ``train/retrieval-SfM-resight`` as cirtorch lays out a training set (a pickle,
which is written and never read here, and the images as links below ``ims``); and ``shards/`` with a sample of
images for each pair. Everything is written in the order of ids, so that equal tables give equal files.
"""

import csv
import io
import json
import logging
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from resight import files
from resight.dedup.export import CompleteFile, csv_cell
from resight.graph.components import find_roots
from resight.images.content import ContentError, ContentReader
from resight.mining.placing import TRAIN, VALIDATION
from resight.mining.training import Place, Tuples, list_ids, locate_images, read_tuples
from resight.reader import Reader

SET_NAME = "retrieval-SfM-resight"  # cirtorch knows sets by the first part of their names
PAIRS_PER_SHARD = 1000
FIGURES = ("source", "weight", "positive_score", "positive_similarity", "component_id", "split")
log = logging.getLogger("resight")


def export_pairs(reader: Reader, folder: Path, build: str = "", *, shards: bool = True) -> dict[str, int]:
    """Write the tuples of a build to ``folder`` in every format; return how many things were written.

    ``shards`` copies the images of every pair: leave it off where links will do.
    """
    written = {"csv_rows": write_csv(reader, folder / "tuples.csv", build)}
    written |= write_cirtorch(reader, folder / "train" / SET_NAME, build)
    if shards:
        for split in (TRAIN, VALIDATION):
            counts = write_shards(reader, folder / "shards", split, build)
            written |= {f"{name}_{split}": n for name, n in counts.items()}
    return written


def write_csv(reader: Reader, file: Path, build: str = "") -> int:
    """Write a row for each negative of each pair, with the paths of the three images; return how many."""
    tuples = read_tuples(reader, build)
    places = locate_images(reader, list_ids(tuples).tolist())
    roles = ("anchor", "positive", "negative")
    with CompleteFile(file) as stream:
        out = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        out.writerow([*roles, *(f"{role}_path" for role in roles), "rank", *FIGURES])
        for row, negatives in each_pair(tuples):
            figures = [csv_cell(name, row[name]) for name in FIGURES]
            for rank, negative in enumerate(negatives):
                ids = [row["anchor"], row["positive"], negative]
                out.writerow([*ids, *(csv_cell("uri", path_of(places, i)) for i in ids), rank, *figures])
    return len(tuples.negatives)


def path_of(places: dict[int, Place], image_id: int) -> str | None:
    """Path of an image, None where it left the collection."""
    return places[image_id].path if image_id in places else None


def each_pair(tuples: Tuples) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Give the columns of every pair, and its negatives."""
    for i in range(len(tuples.rows)):
        row = {name: tuples.rows[name][i].as_py() for name in ("anchor", "positive", *FIGURES)}
        yield row, tuples.negatives[tuples.offsets[i] : tuples.offsets[i + 1]].tolist()


def write_cirtorch(reader: Reader, folder: Path, build: str = "") -> dict[str, int]:
    """Write a training set as cirtorch reads it: a pickle named like ``folder``, and links to the images.

    The pickle has ``train`` and ``val``, each with ``cids`` (names of images), ``cluster``, ``qidxs`` and
    ``pidxs`` (places of the anchor and of the positive of every pair). cirtorch looks for negatives itself,
    among other clusters: a cluster is what positives connect, further images are clusters of their own. Only
    images that are files on a local disk have links.
    """
    sets, n_links = {}, 0
    for split, mode in ((TRAIN, "train"), (VALIDATION, "val")):
        tuples = read_tuples(reader, build, split=split)
        ids = list_ids(tuples)
        anchor, positive = (tuples.rows[name].to_numpy() for name in ("anchor", "positive"))
        known, roots = find_roots(anchor, positive)
        named = ids.copy()
        named[np.searchsorted(ids, known)] = roots
        cluster = np.unique(named, return_inverse=True)[1]
        sets[mode] = {
            "cids": [name_image(image_id) for image_id in ids.tolist()],
            "cluster": cluster.tolist(),
            "qidxs": np.searchsorted(ids, anchor).tolist(),
            "pidxs": np.searchsorted(ids, positive).tolist(),
        }
        n_links += link_images(locate_images(reader, ids.tolist()), folder / "ims")
    files.write_bytes(str(folder / f"{folder.name}.pkl"), pickle.dumps(sets, protocol=4))
    return {"cirtorch_pairs": sum(len(one["qidxs"]) for one in sets.values()), "cirtorch_links": n_links}


def name_image(image_id: int) -> str:
    """Name an image as cirtorch wants it, which takes the folders from the last six letters.

    >>> name_image(255)
    '00000000000000ff'
    """
    return f"{image_id:016x}"


def link_images(places: dict[int, Place], folder: Path) -> int:
    """Link the images that are files of a local disk below ``folder``; return how many there are."""
    n = 0
    for image_id, place in places.items():
        source, name = files.local_path(place.path), name_image(image_id)
        if place.byte_offset is not None or source is None or not source.exists():
            continue
        link = folder / name[-2:] / name[-4:-2] / name[-6:-4] / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source.absolute())
        n += 1
    return n


def write_shards(reader: Reader, folder: Path, split: str, build: str = "") -> dict[str, int]:
    """Write tar shards: for each pair ``N.anchor.jpg``, ``N.positive.jpg``, ``N.negative0.jpg``, ``N.json``.

    A pair with an image that cannot be read is left out and counted.
    """
    tuples = read_tuples(reader, build, split=split)
    places = locate_images(reader, list_ids(tuples).tolist())
    counts = {"shards": 0, "samples": 0, "unreadable": 0}
    folder.mkdir(parents=True, exist_ok=True)
    archive, readers = None, dict[str, ContentReader]()
    for row, negatives in each_pair(tuples):
        sample = read_sample(row, negatives, places, readers)
        if sample is None:
            counts["unreadable"] += 1
            continue
        if counts["samples"] % PAIRS_PER_SHARD == 0:
            archive = next_shard(archive, folder / f"{split}-{counts['shards']:06d}.tar")
            counts["shards"] += 1
        for name, content in sample.items():
            add_member(archive, f"{counts['samples']:09d}.{name}", content)  # type: ignore[arg-type]
        counts["samples"] += 1
    if archive:
        archive.close()
    for one in readers.values():
        one.close()
    return counts


def next_shard(archive: tarfile.TarFile | None, file: Path) -> tarfile.TarFile:
    """Close a shard and open another."""
    if archive:
        archive.close()
    return tarfile.open(file, "w", format=tarfile.USTAR_FORMAT)


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Append a member; it has no date, so that equal tables give equal shards."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def read_sample(
    row: dict[str, Any], negatives: list[int], places: dict[int, Place], readers: dict[str, ContentReader]
) -> dict[str, bytes] | None:
    """Read the images of a pair and describe it; None where one is gone or cannot be read."""
    roles = {"anchor": row["anchor"], "positive": row["positive"]}
    roles |= {f"negative{i}": negative for i, negative in enumerate(negatives)}
    sample = dict[str, bytes]()
    for role, image_id in roles.items():
        place = places.get(image_id)
        if place is None:
            return None
        if place.root not in readers:
            readers[place.root] = ContentReader(place.root)
        reader = readers[place.root]
        try:
            content = reader.read(place.uri, place.byte_offset, place.n_bytes)
        except ContentError as error:
            log.warning("mine-pairs: image %d is left out of the shards: %s", image_id, error)
            return None
        sample[f"{role}.{suffix_of(place)}"] = content
    ids = {role: str(image_id) for role, image_id in roles.items()}
    sample["json"] = json.dumps(
        {"images": ids} | {name: row[name] for name in FIGURES}, sort_keys=True
    ).encode()
    return sample


def suffix_of(place: Place) -> str:
    """Give the suffix that tells a decoder what the bytes are.

    >>> suffix_of(Place("/photos", "a.JPEG", None, 9, "JPEG")), suffix_of(Place("/p", "b", None, 9, "PNG"))
    ('jpg', 'png')
    """
    kind = (place.format or "jpg").lower()
    return {"jpeg": "jpg", "mpo": "jpg", "tiff": "tif"}.get(kind, kind)
