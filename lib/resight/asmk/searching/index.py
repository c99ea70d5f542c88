"""What an ASMK search opens: shards, and beside them the norms of images and the weights of words.

Shards hold entries and ids only; norms and weights are of the whole collection and change with every image,
so that each version of an index writes them anew. An image without a norm is not searched: that is how images
are removed while no shard is touched. All of them have a checksum in their name, which is verified as that
of a shard is.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from resight import files
from resight.asmk.shard import CorruptShardError, Shard, ShardFiles, verify_once
from resight.codebook.model import Codebook, CodebookFiles
from resight.knn.matrix import OpenVectors, VectorFiles, load_vector_files, map_array


@dataclass(frozen=True)
class IndexFiles:
    """Files of one version of an index; small, so a task carries it whole.

    ``images`` holds the norm of every image as a vector of one dimension, ids ascending; ``weights`` is the
    name of a file in ``folder``.
    """

    folder: str
    shards: tuple[ShardFiles, ...]
    images: VectorFiles
    weights: str
    codebook: CodebookFiles
    allowed: tuple[str, str] | None = None  # folder and name of a mask over ``images``; None: all

    def open(self) -> "Index":
        """Map norms and weights; shards follow as they are searched.

        Raises
        ------
        CorruptShardError
            One of these files, or one of the codebook's, is damaged.
        """
        self.verify()
        mask = map_array(*self.allowed) if self.allowed else None
        return Index(self.shards, self.images.open(), map_array(self.folder, self.weights), mask)

    def verify(self) -> None:
        """Compare the files beside the shards with the checksums in their names, once per machine and state.

        Raises
        ------
        CorruptShardError
            One of them is missing or damaged.
        """
        for name in (self.weights, *(file for _, file in self.codebook.names)):
            uri, expected = files.join(self.folder, name), last_word(name.removesuffix(".npy"))
            verify_once(f"index file {uri}", expected, [uri], digest_file)
        for part in self.images.parts:
            uris = [files.join(self.images.folder, f"{kind}-{part.name}.npy") for kind in ("ids", "vectors")]
            verify_once(f"index file {uris[1]}", last_word(part.name), uris, digest_rows)

    def open_codebook(self) -> Codebook:
        """Give the codebook of verified files."""
        self.verify()
        return self.codebook.open()

    def is_sound(self) -> bool:
        """Whether `verify` finds nothing wrong."""
        try:
            self.verify()
        except CorruptShardError:
            return False
        return True

    def save(self, root: str) -> None:
        """Write what `load_index_files` reads; shards are named relative to ``root``."""
        listed = [asdict(shard) | {"folder": shard.folder.removeprefix(root + "/")} for shard in self.shards]
        codebook = asdict(self.codebook) | {"folder": ""}
        text = json.dumps({"weights": self.weights, "codebook": codebook, "shards": listed}, indent=1)
        files.write_bytes(files.join(self.folder, "index.json"), text.encode())


def last_word(name: str) -> str:
    """Give what follows the last hyphen of a name: the checksum of a file."""
    return name.rsplit("-", 1)[-1]


def digest_file(paths: list[Path]) -> str:
    """Hash a file as `resight.knn.matrix.save_array` does for its name."""
    return hashlib.blake2b(paths[0].read_bytes(), digest_size=8).hexdigest()


def digest_rows(paths: list[Path]) -> str:
    """Hash the ids and the rows of a part as `resight.knn.matrix.save_part` does for its name."""
    both = hashlib.blake2b(digest_size=8)
    for path in paths:
        try:
            array = np.load(path)
        except (ValueError, EOFError) as error:  # cut off, or its head is damaged
            return str(error)
        both.update(np.ascontiguousarray(array).data)
    return both.hexdigest()


def load_index_files(folder: str, root: str) -> IndexFiles:
    """Read what `IndexFiles.save` wrote; FileNotFoundError where there is nothing."""
    fields = json.loads(files.read_bytes(files.join(folder, "index.json")))
    listed = [one | {"folder": files.join(root, one["folder"])} for one in fields["shards"]]
    shards = tuple(ShardFiles(**one) for one in listed)
    images = load_vector_files(files.join(folder, "images"))
    names = tuple((array, file) for array, file in fields["codebook"].pop("names"))
    codebook = CodebookFiles(**fields["codebook"] | {"folder": folder, "names": names})
    return IndexFiles(folder, shards, images, fields["weights"], codebook)


@dataclass
class Index:
    """An opened index.

    Attributes
    ----------
    X : OpenVectors
        Norm of every image that can be found, by *row*; rows are ordered by image_id.
    weights : ndarray, (k,) float32
        Weight of every visual word, 0 where no image has it.
    allowed : ndarray, (n,) bool, optional
        Which rows may be returned.
    """

    shards: tuple[ShardFiles, ...]
    X: OpenVectors
    weights: np.ndarray
    allowed: np.ndarray | None = None

    @cached_property
    def norms(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Rows (n,) int32, -1 of images that were removed, and norms (n,) float32, by number of the shard."""
        return {}

    def restrict(self, allowed: np.ndarray) -> "Index":
        """Give the same index, of which only the rows ``allowed`` (n,) bool are returned."""
        restricted = Index(self.shards, self.X, self.weights, allowed)
        restricted.__dict__["norms"] = self.norms
        return restricted

    def open(self, number: int) -> tuple[Shard, np.ndarray]:
        """Open a shard, with the norms (n,) float64 of its images: -1 where one is not to be returned.

        Raises
        ------
        CorruptShardError
            Its files are damaged.
        """
        shard = self.shards[number].open()
        if number not in self.norms:
            rows = self.X.ordinal_of(shard.image_ids)
            known, found = np.zeros(len(rows), np.float32), rows >= 0
            known[found] = self.X.gather(rows[found])[:, 0]
            self.norms[number] = rows.astype(np.int32), known
        rows, known = self.norms[number]
        kept = rows >= 0
        if self.allowed is not None and kept.any():
            kept &= self.allowed[np.maximum(rows, 0)]
        return shard, np.where(kept, known, -1.0).astype(np.float64)
