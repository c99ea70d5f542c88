"""One moment of a workspace, opened for search: its runs, its mapped files, its images by id."""

from collections.abc import Mapping
from functools import cached_property
from threading import RLock
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from resight.arrow import arrow_to_vectors
from resight.config import SettingError
from resight.reader import Reader, Snapshot
from resight.search.collection import Collection
from resight.search.describe import Recipe, find_recipe
from resight.search.filter import Conditions, allow_images, columns_of
from resight.search.fused.answer import FusedCollection, open_fused
from resight.search.local.answer import LocalIndex, open_local_index
from resight.search.locate import LackingError, check_alpha, locate_files
from resight.search.settings import Method, SearchSettings, needs_manifold, needs_regions, opens_graph
from resight.tables import IMAGES, REGION_DESCRIPTORS
from resight.workspace import Run

KEPT_MASKS = 16  # filters whose masks, a byte per image each, are kept


LOCATED: tuple[Method, ...] = ("global", "diffusion", "offline_diffusion", "regional_diffusion")


class Searched(NamedTuple):
    """An opened collection, the run whose descriptors it ranks by, that of the offline diffusion, if any."""

    collection: Collection
    described: Run
    diffused: Run | None = None


class Moment(Reader):
    """A snapshot of a workspace; files are mapped at the first use and kept. Threads may share it."""

    def __init__(self, workspace: Snapshot, named: Mapping[str, str]) -> None:
        super().__init__(workspace)
        self.named = named
        self.lock = RLock()
        self.searched: dict[tuple[bool, ...], Searched] = {}
        self.recipes: dict[str, Recipe] = {}
        self.masks: dict[tuple, np.ndarray] = {}

    @cached_property
    def local(self) -> LocalIndex:
        """The index of local features; `SettingError` where there is none."""
        with self.lock:
            return open_local_index(self, self.named.get("index", ""))

    @cached_property
    def fused(self) -> FusedCollection:
        """What a fused search looks into; `SettingError` where there is none."""
        with self.lock:
            return open_fused(self, self.named)

    @cached_property
    def images(self) -> ds.Dataset:
        """The table of images."""
        run = self.find(IMAGES)
        return self.workspace.dataset(IMAGES, run.build_id, run.outputs[IMAGES.name])

    def open(self, settings: SearchSettings) -> Searched:
        """Map what a search with these settings reads; `SettingError` where that lacks or does not fit."""
        key = opens_graph(settings), needs_manifold(settings), needs_regions(settings)
        with self.lock:
            if key not in self.searched:
                located = locate_files(self.workspace, settings, self.named)
                self.searched[key] = Searched(located.files.open(), *located[1:])
            searched = self.searched[key]
        if searched.diffused:
            check_alpha(settings, searched.diffused)
        return searched

    def lacks(self, before: "Moment") -> str:
        """Say which files are not there yet for what the moment ``before`` could search; "" if none lack."""
        for settings in (SearchSettings(method=method) for method in LOCATED):
            try:
                locate_files(before.workspace, settings, self.named)
            except SettingError:
                continue
            try:
                locate_files(self.workspace, settings, self.named)
            except LackingError as error:
                return str(error)
        return ""

    def recipe(self, described: Run) -> Recipe:
        """Give how the images of a build were described."""
        with self.lock:
            if described.build_id not in self.recipes:
                self.recipes[described.build_id] = find_recipe(self, described)
            return self.recipes[described.build_id]

    def allow(self, conditions: Conditions, searched: Searched | LocalIndex | FusedCollection) -> np.ndarray:
        """Mark the images of a collection that meet ``conditions``, (n,) bool by ordinal."""
        texts = tuple(sorted((column, *values) for column, values in conditions.items()))
        key = (searched.described.build_id, *texts)
        with self.lock:
            if key not in self.masks:
                batches = self.images.to_batches(columns=columns_of(conditions))
                self.masks[key] = allow_images(batches, conditions, searched.collection.X)
                for oldest in list(self.masks)[:-KEPT_MASKS]:
                    del self.masks[oldest]
            return self.masks[key]

    def regions_of(self, image_id: int, described: Run) -> np.ndarray | None:
        """Read the vectors (r, d) of an image's regions; None where it has none."""
        build = described.build_id
        rows = self.read(REGION_DESCRIPTORS, build, filter=pc.field("image_id") == image_id)
        if not len(rows):
            return None
        dtype = self.properties(REGION_DESCRIPTORS, build)["dtype"]
        return arrow_to_vectors(rows.sort_by("region_ix")["vector"], dtype)

    def uris_of(self, ids: np.ndarray) -> pa.Array:
        """Look up the uris (m,) of image ``ids`` (m,), which may repeat; null where there is none."""
        wanted = pa.array(np.unique(ids), pa.int64())
        rows = self.images.to_table(columns=["image_id", "uri"], filter=pc.field("image_id").isin(wanted))
        places = pc.index_in(pa.array(ids, pa.int64()), value_set=rows["image_id"].combine_chunks())
        return rows["uri"].combine_chunks().take(places)

    def id_of(self, image: int | str) -> int:
        """Give the id of an image that is named by its id or its uri.

        Raises
        ------
        SettingError
            No image, or more than one, of several sources, has this uri.
        """
        if not isinstance(image, str):
            return int(image)
        there = (pc.field("uri") == image) & pc.field("removed_at").is_null()
        ids = self.images.to_table(columns=["image_id"], filter=there)["image_id"].to_pylist()
        if len(ids) != 1:
            raise SettingError(f"{len(ids)} images have the uri {image!r}: {ids[:5] or 'name another'}")
        return ids[0]
