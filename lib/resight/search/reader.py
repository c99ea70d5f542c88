"""Search without Spark: answers from committed runs, with the ranking of the job ``search``."""

import logging
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.arrow import arrow_to_lists
from resight.config import SettingError
from resight.diffusion.observe import QueryLists, observe_queries
from resight.features.photos import Box
from resight.graph.builds import of_images
from resight.knn.matrix import OpenVectors
from resight.reader import Reader, take_snapshot
from resight.search.describe import (
    Asked,
    Boxes,
    Query,
    collect_vectors,
    is_picture,
    list_boxes,
    list_queries,
    pack_regions,
    read_content,
)
from resight.search.diffused import explain_answer, search_distinct
from resight.search.filter import Filter, parse_filter
from resight.search.found import Found, tabulate
from resight.search.fused.answer import answer_fused, ask_fused
from resight.search.local.answer import answer_index, ask_index
from resight.search.moment import Moment, Searched
from resight.search.rank import answer_queries
from resight.search.settings import SearchSettings, needs_fusion, needs_index, needs_regions
from resight.tables import DUPLICATE_GROUPS, NEIGHBORS
from resight.workspace import Run

log = logging.getLogger("resight")


class Searcher:
    """An open workspace: see `resight.open`. Threads may share it.

    It answers from what was committed when it was opened; `refresh` looks for newer runs. It ranks among all
    images, as the paths ``replicated`` and ``partitioned`` of the job do; as ``truncated`` does with the
    setting ``shortlist``.
    """

    def __init__(self, root: str, named: Mapping[str, str], *, threads: int = 1) -> None:
        self.root, self.named, self.threads = root, dict(named), threads
        self.describing = RLock()  # networks and their native threads serve one caller at a time
        self.moment = Moment(take_snapshot(root), self.named)

    def refresh(self) -> str:
        """Answer from the newest committed runs from now on; calls under way end with the older ones.

        Jobs write the files that are searched when they need them. Where those of the newest runs are not
        there yet and those of the older ones are, all answers stay with the older runs.

        Returns
        -------
        str
            Empty, or what is lacking and which job writes it: nothing has changed then. A newly opened
            reader always sees the newest runs.
        """
        newer = Moment(take_snapshot(self.root), self.named)
        lacking = newer.lacks(self.moment)
        if lacking:
            log.warning("the reader stays with the older runs: %s", lacking)
        else:
            self.moment = newer
        return lacking

    @property
    def tables(self) -> Reader:
        """The committed tables of the same moment, as Arrow."""
        return self.moment

    def search(
        self,
        query: Query | Sequence[Query],
        *,
        method: str = "global",
        depth: int | str = 100,
        filter: Filter = (),
        boxes: Boxes = None,
        **settings: Any,
    ) -> Found:
        """Rank the images of the collection for one query or several.

        Parameters
        ----------
        query : path, array or int, or a list of these
            An image file, its pixels (h, w, 3) uint8, a vector (d,), or the id of an image, which is left
            out of its own answer. Rows of an array (s, d) are vectors.
        filter : str, sequence of str, or mapping
            ``column=value``: only such images are returned. Columns of ``images`` or of its manifest; values
            of one column are alternatives, columns restrict each other.
        boxes : (y0, x0, y1, x1), or a list with one or None per query
            Parts of image files, in pixels of the upright photo; of keypoints those strictly inside count.
        method, depth, **settings
            Settings of the job ``search``, see `SearchSettings`.

        Raises
        ------
        SettingError
            A setting is wrong, or no job has made yet what the method reads.
        ValueError
            A vector has other dimensions than the collection.
        """
        wanted = SearchSettings.from_mapping({"method": method, "depth": depth, **settings})
        if wanted.explain:
            raise SettingError("explain: call explain(query, image)")
        moment, queries = self.moment, list_queries(query)
        parts = list_boxes(boxes, queries)
        if needs_fusion(wanted):
            return self.search_fused(queries, parts, moment, wanted, filter)
        if needs_index(wanted):
            return self.search_local(queries, parts, moment, wanted, filter)
        searched = moment.open(wanted)
        asked = self.read_queries(queries, parts, searched.collection.X, moment, searched.described)
        collection = searched.collection
        if filter:
            collection = collection.restrict(moment.allow(parse_filter(filter), searched))
        if needs_regions(wanted):
            asked = attach_regions(asked, moment, searched)
        usable, regions = np.flatnonzero(np.array(asked.status) == "ok"), None
        if needs_regions(wanted):
            regions = pack_regions([asked.regions[i] for i in usable], collection.region_nodes.X.d)
        Q, own = asked.Q[usable], asked.own[usable]
        answers = answer_queries(Q, own, collection, wanted, threads=self.threads, regions=regions)
        return tabulate(
            moment, searched.collection.X, asked, dict(zip(usable.tolist(), answers, strict=True))
        )

    def search_local(
        self,
        queries: Sequence[Query],
        boxes: list[Box | None],
        moment: Moment,
        wanted: SearchSettings,
        filter: Filter,
    ) -> Found:
        """Rank the images of an index by local features."""
        local = moment.local
        allowed = moment.allow(parse_filter(filter), local) if filter else None
        with self.describing:
            keypoints = ask_index(queries, moment, local, threads=self.threads, boxes=boxes)
        answers = answer_index(queries, keypoints, local, wanted, allowed, threads=self.threads)
        return tabulate(moment, local.collection.X, keypoints, answers)

    def search_fused(
        self,
        queries: Sequence[Query],
        boxes: list[Box | None],
        moment: Moment,
        wanted: SearchSettings,
        filter: Filter,
    ) -> Found:
        """Rank by vectors, local features, verification and diffusion together."""
        fused = moment.fused
        allowed = moment.allow(parse_filter(filter), fused) if filter else None

        def ask_vectors(X: OpenVectors, described: Run) -> Asked:
            return self.read_queries(queries, boxes, X, moment, described)

        with self.describing:
            asked = ask_fused(queries, moment, fused, ask_vectors, threads=self.threads, boxes=boxes)
            answers = answer_fused(
                queries, asked, moment, fused, wanted, allowed=allowed, threads=self.threads
            )
        return tabulate(moment, fused.collection.X, asked, answers)

    def neighbors(self, image: int | str) -> pa.Table:
        """List the nearest images of one, given by its id or uri: rank, image_id, uri, similarity."""
        moment = self.moment
        graph = moment.workspace.find_build(NEIGHBORS, self.named.get("graph", ""), of_images)
        wanted = pc.field("src") == moment.id_of(image)
        row = moment.read(NEIGHBORS, graph.build_id, filter=wanted)
        ids = arrow_to_lists(row["dst"], "int64")[1]
        similarity = arrow_to_lists(row["similarity"], "float32")[1]
        ranks = np.arange(len(ids), dtype=np.int32)
        columns = {"rank": ranks, "image_id": ids, "uri": moment.uris_of(ids), "similarity": similarity}
        return pa.table(columns)

    def group(self, image: int | str) -> pa.Table:
        """List the duplicates of an image, itself included; without any the table is empty.

        The columns are group_id, image_id, uri, keep, reason and similarity to the image that is kept.
        """
        moment = self.moment
        wanted = pc.field("image_id") == moment.id_of(image)
        own = moment.read(DUPLICATE_GROUPS, columns=["group_id"], filter=wanted)["group_id"]
        rows = moment.read(DUPLICATE_GROUPS, filter=pc.field("group_id").isin(own.combine_chunks()))
        rows = rows.sort_by([("keep", "descending"), ("image_id", "ascending")])
        return rows.add_column(2, "uri", moment.uris_of(rows["image_id"].to_numpy()))

    def explain(self, query: Query, image: int | str, **settings: Any) -> pa.Table:
        """Find the chain of images that leads from a query to an image over the graph.

        Parameters
        ----------
        query
            One query, as for `search`.
        image : int or str
            Id or uri.
        **settings
            ``query_neighbors`` and ``gamma``: what the query observes; ``explain_hops`` and
            ``explain_nodes``: how far is looked.

        Returns
        -------
        Table
            hop, src (null: the query), dst, dst_uri, affinity, product so far; without rows where no chain
            is found within these limits.
        """
        wanted = SearchSettings.from_mapping({"method": "diffusion", **settings})
        moment = self.moment
        searched = moment.open(wanted)
        X = searched.collection.X
        asked = self.read_queries([query], [None], X, moment, searched.described)
        target = X.ordinal_of(np.array([moment.id_of(image)]))
        if asked.status != ["ok"] or target[0] < 0:
            raise SettingError(f"nothing to explain: {asked.error[0] or f'{image!r} has no vector'}")
        lists = search_distinct(asked.Q, X, k=wanted.k_q)
        observed = observe_queries(QueryLists(*lists), k_q=wanted.k_q, gamma=wanted.gamma, n_queries=1)
        path = explain_answer(target, 0, observed, searched.collection, wanted, own=int(asked.own[0]))[0]
        ends = X.id_of(np.maximum([path.src, path.dst], 0).astype(np.int64).ravel()).reshape(2, -1)
        return pa.table(
            {
                "hop": np.arange(len(path.src), dtype=np.int32),
                "src": pa.array(ends[0], pa.int64(), mask=path.src < 0),
                "dst": ends[1],
                "dst_uri": moment.uris_of(ends[1]),
                "affinity": path.affinity,
                "product": path.product,
            }
        )

    def read_queries(
        self,
        queries: Sequence[Query],
        boxes: Sequence[Box | None],
        X: OpenVectors,
        moment: Moment,
        described: Run,
    ) -> Asked:
        """Give the vectors of queries; images are described by the settings of the collection's build."""
        pictures = [i for i, query in enumerate(queries) if is_picture(query)]
        found = None
        if pictures:
            recipe, contents = moment.recipe(described), [read_content(queries[i]) for i in pictures]
            with self.describing:
                found = recipe.describe(contents, threads=self.threads, boxes=[boxes[i] for i in pictures])
        return collect_vectors(queries, X, found)


def attach_regions(asked: Asked, moment: Moment, searched: Searched) -> Asked:
    """Read the regions of queries that are of the collection; without any the status is ``no_regions``."""
    regions, status, error = list(asked.regions), list(asked.status), list(asked.error)
    for i in np.flatnonzero(np.array(status) == "ok").tolist():
        if asked.own[i] >= 0:
            image_id = searched.collection.X.id_of(asked.own[[i]])[0]
            regions[i] = moment.regions_of(int(image_id), searched.described)
        if regions[i] is None:
            status[i], error[i] = "no_regions", "the query has no regions"
    return asked._replace(regions=regions, status=status, error=error)
