"""What pairs of images that were verified before say of a query that is an image of the collection.

A pair counts while it is of the same bytes: the table ``verified_pairs`` holds a hash of both contents, that
of Spark's ``xxhash64``, which is computed here too.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.config import SettingError
from resight.features.local.settings import LocalSettings
from resight.features.local.weights import local_weights_sha256
from resight.reader import Reader
from resight.tables import IMAGES, LOCAL_DESCRIPTORS, MODELS, VERIFIED_PAIRS
from resight.verification.settings import VerifySettings
from resight.workspace import Run

__all__ = ["NOTHING", "Extraction", "Known", "check_verified", "hash_contents", "read_known"]

SEED = 42  # of Spark's hash functions
PRIMES = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
MASK = (1 << 64) - 1


class Known(NamedTuple):
    """Images that a query was verified with before: ids (m,) ascending, and their inliers (m,) int64."""

    image_ids: np.ndarray
    n_inliers: np.ndarray

    def look_up(self, image_ids: np.ndarray) -> np.ndarray:
        """Give the inliers (n,) int64 of images (n,); -1 where nothing is known.

        >>> Known(np.array([3, 5]), np.array([40, 0])).look_up(np.array([5, 4, 3, 9])).tolist()
        [0, -1, 40, -1]
        """
        found = np.full(len(image_ids), -1, np.int64)
        if len(self.image_ids):
            at = np.minimum(np.searchsorted(self.image_ids, image_ids), len(self.image_ids) - 1)
            same = self.image_ids[at] == image_ids
            found[same] = self.n_inliers[at[same]]
        return found


NOTHING = Known(np.zeros(0, np.int64), np.zeros(0, np.int64))


class Extraction(NamedTuple):
    """How the keypoints of an index are made: the build of its codebook, and the hash of its weight file."""

    fitted: Run
    sha256: str


def check_verified(
    verified: Run, settings: VerifySettings, extraction: Extraction, builds: Mapping[str, Run]
) -> None:
    """Raise `SettingError` where a run of verify-pairs verified in another way than a search would.

    It must have matched as the search does, and keypoints of the same extractor with the same weights.
    """
    used = {name: verified.settings.get(name) for name in VerifySettings.__struct_fields__}
    wanted = {name: getattr(settings, name) for name in used}
    other = {name: value for name, value in used.items() if value != wanted[name]}
    if verified.settings.get("words"):
        other["words"] = verified.settings["words"]
    other |= compare_keypoints(verified, extraction, builds)
    if other:
        raise SettingError(f"verified: {verified.name!r} verified with {other}, a search would not")


def compare_keypoints(verified: Run, extraction: Extraction, builds: Mapping[str, Run]) -> dict[str, object]:
    """Give the settings of the extractor, and its weights, in which a run differs from those of an index."""
    made, wanted = (trace_keypoints(run, builds) for run in (verified, extraction.fitted))
    if made == wanted:
        return {}
    if made not in builds or wanted not in builds:
        return {"local": f"keypoints of the build {made or wanted}, which is gone"}
    settings = [read_local(builds[build]) for build in (made, wanted)]
    contents = [local.content() for local in settings]
    other = {name: value for name, value in contents[0].items() if value != contents[1][name]}
    projections = [builds[build].parents.get(MODELS.name, "") for build in (made, wanted)]
    if projections[0] != projections[1]:
        other["whitening"] = projections[0]
    if not other and local_weights_sha256(settings[0]) != extraction.sha256:
        other["weights"] = local_weights_sha256(settings[0])
    return other


def trace_keypoints(run: Run, builds: Mapping[str, Run]) -> str:
    """Find the build of extract-local-features behind a run: through the codebook of an index."""
    build = ""
    while run.job != "extract-local-features":
        through = MODELS.name if run.job == "build-index" else LOCAL_DESCRIPTORS.name
        build = run.parents.get(through, "")
        if build not in builds:
            return build
        run = builds[build]
    return run.build_id


def read_local(run: Run) -> LocalSettings:
    """Give the settings of the extractor that made a build of keypoints."""
    names = LocalSettings.__struct_fields__
    return LocalSettings.from_mapping({name: run.settings[name] for name in names if name in run.settings})


def read_known(image_ids: Sequence[int], reader: Reader, verified: Run) -> dict[int, Known]:
    """Read what is known of some images, by their ids; pairs of other bytes than now are left out."""
    wanted = sorted({i for i in image_ids if i >= 0})
    if not wanted:
        return {}
    ends = pc.field("image_a").isin(wanted) | pc.field("image_b").isin(wanted)
    columns = ["image_a", "image_b", "contents", "n_inliers"]
    rows = reader.read(
        VERIFIED_PAIRS, verified.build_id, columns=columns, filter=ends & (pc.field("status") == "ok")
    )
    named = np.union1d(rows["image_a"].to_numpy(), rows["image_b"].to_numpy())
    images = reader.read(
        IMAGES, columns=["image_id", "content_hash"], filter=pc.field("image_id").isin(pa.array(named))
    )
    hashes = dict(zip(images["image_id"].to_pylist(), images["content_hash"].to_pylist(), strict=True))
    found: dict[int, dict[int, int]] = {i: {} for i in wanted}
    for row in rows.to_pylist():
        a, b = row["image_a"], row["image_b"]
        if row["contents"] == hash_contents(hashes.get(a), hashes.get(b)):
            for own, other in ((a, b), (b, a)):
                if own in found:
                    found[own][other] = row["n_inliers"]
    return {own: pack_known(others) for own, others in found.items() if others}


def pack_known(others: Mapping[int, int]) -> Known:
    """Lay out inliers by image."""
    ids = np.array(sorted(others), np.int64)
    return Known(ids, np.array([others[i] for i in ids.tolist()], np.int64))


def hash_contents(*hashes: str | None) -> int:
    """Hash some texts as ``xxhash64(column, column ...)`` of Spark does; null ones change nothing.

    >>> hash_contents("Spark")
    -4294468057691064905
    """
    value = SEED
    for one in hashes:
        value = value if one is None else hash_bytes(one.encode(), value)
    return value - (1 << 64) if value >> 63 else value


def hash_bytes(data: bytes, seed: int) -> int:
    """XXH64 (Collet, the specification of xxHash) of ``data``."""
    a, b, c, d, e = PRIMES
    at, value = 0, seed + e
    if len(data) >= 32:
        lanes = [seed + a + b, seed + b, seed, seed - a]
        while at + 32 <= len(data):
            lanes = [mix(lane, data[at + 8 * i : at + 8 * i + 8]) for i, lane in enumerate(lanes)]
            at += 32
        value = sum(turn(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            value = (value ^ turn(lane * b, 31) * a) * a + d
    value += len(data)
    while at + 8 <= len(data):
        value = turn(value ^ mix(0, data[at : at + 8]), 27) * a + d
        at += 8
    if at + 4 <= len(data):
        value = turn(value ^ int.from_bytes(data[at : at + 4], "little") * a, 23) * b + c
        at += 4
    for byte in data[at:]:
        value = turn(value ^ byte * e, 11) * a
    value = ((value & MASK) ^ (value & MASK) >> 33) * b & MASK
    value = (value ^ value >> 29) * c & MASK
    return value ^ value >> 32


def mix(lane: int, data: bytes) -> int:
    """Fold eight bytes into a lane."""
    return turn(lane + int.from_bytes(data, "little") * PRIMES[1], 31) * PRIMES[0] & MASK


def turn(value: int, by: int) -> int:
    """Rotate the 64 low bits of ``value`` to the left."""
    low = value & MASK
    return (low << by | low >> (64 - by)) & MASK
