"""Keypoints of indexed images without Spark: those that are stored, the others found again in their files."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from resight.features.local.points import LocalFeatures, unpack_features
from resight.features.local.work import LocalWork
from resight.features.photos import Box
from resight.features.work import read_images
from resight.reader import Reader
from resight.tables import IMAGE_STATS, IMAGES, LOCAL_DESCRIPTORS, SOURCES
from resight.workspace import Run

PLACE = ["source_id", "uri", "byte_offset", "n_bytes"]
Faults = dict[int, tuple[str, str | None]]


class Described(NamedTuple):
    """What became of some images: their keypoints, and status and error of those without, by id or place."""

    features: dict[int, LocalFeatures]
    faults: Faults


def read_indexed(
    image_ids: Iterable[int],
    reader: Reader,
    indexed: Run,
    work: LocalWork,
    *,
    threads: int,
    complete: bool = True,
) -> Described:
    """Give the keypoints of images of the index that ``indexed`` made; ``work`` describes as it did.

    Not ``complete``: the strongest, where only those are stored, which a verification matches.
    """
    wanted = sorted(set(image_ids))
    chosen = pc.field("image_id").isin(wanted) & (pc.field("status") == "ok")
    columns = ["image_id", "content_hash", "n_keypoints"]
    rows = reader.read(IMAGE_STATS, indexed.build_id, columns=columns, filter=chosen).to_pylist()
    states = {row["image_id"]: (row["content_hash"], row["n_keypoints"]) for row in rows}
    faults: Faults = {i: ("missing", "no indexed image has this id") for i in wanted if i not in states}
    features = read_stored(states, reader, indexed, complete=complete)
    lacking = {i: state[0] for i, state in states.items() if i not in features}
    if lacking:
        found = read_again(lacking, reader, work, threads)
        features, faults = features | found.features, faults | found.faults
    return Described(features, faults)


def read_stored(
    states: Mapping[int, tuple[str, int]], reader: Reader, indexed: Run, *, complete: bool
) -> dict[int, LocalFeatures]:
    """Read the keypoints that are stored of images in these states (content_hash, n_keypoints)."""
    own = LOCAL_DESCRIPTORS.name in indexed.outputs
    build = indexed.build_id if own else indexed.parents.get(LOCAL_DESCRIPTORS.name, "")
    if not build or not states:
        return {}
    same = pc.field("image_id").isin([*states]) & (pc.field("status") == "ok")
    rows = reader.read(LOCAL_DESCRIPTORS, build, filter=same).to_pylist()
    dtype = reader.properties(LOCAL_DESCRIPTORS, build)["dtype"]
    held = {row["image_id"]: (row["content_hash"], row["n_keypoints"]) for row in rows}
    n_compared = 2 if complete else 1  # of the state
    return {
        row["image_id"]: unpack_features(row["points"], row["vectors"], dtype)
        for row in rows
        if states[row["image_id"]][:n_compared] == held[row["image_id"]][:n_compared]
    }


def read_again(hashes: Mapping[int, str], reader: Reader, work: LocalWork, threads: int) -> Described:
    """Find the keypoints of images again, by their content hashes; a file that changed is a fault."""
    ids = pc.field("image_id").isin([*hashes])
    rows = reader.read(IMAGES, columns=["image_id", *PLACE], filter=ids)
    roots = {row["source_id"]: row["root"] for row in reader.read(SOURCES).to_pylist()}
    listed = rows["image_id"].to_pylist()
    rows = rows.append_column("root", pa.array([roots[s] for s in rows["source_id"].to_pylist()]))
    rows = rows.append_column("content_hash", pa.array([hashes[i] for i in listed], pa.string()))
    unread: dict[int, tuple[str, str]] = {}
    found = describe_contents([*read_images(rows, unread)], work, threads=threads)
    faults = {listed[i]: fault for i, fault in (found.faults | unread).items()}
    return Described({listed[i]: one for i, one in found.features.items()}, faults)


def describe_contents(
    contents: Sequence[bytes | None],
    work: LocalWork,
    *,
    threads: int,
    boxes: Sequence[Box | None] | None = None,
) -> Described:
    """Describe image files by place, each as if it had been stored; None is one that could not be read."""
    from resight.features.local.extract import extract_local
    from resight.features.whitening import Whitening

    described = extract_local(
        contents,
        work.settings,
        whitening=Whitening.from_bytes(work.whitening) if work.whitening else None,
        n_threads=threads,
        device=os.environ.get("RESIGHT_DEVICE") or None,
        boxes=boxes,
    )
    features, faults = dict[int, LocalFeatures](), Faults()
    for i, (one, status, error) in enumerate(zip(*described, strict=True)):
        if one is None:
            faults[i] = status, error
        else:
            features[i] = LocalFeatures(one.points, one.vectors.astype(work.dtype).astype("float32"))
    return Described(features, faults)
