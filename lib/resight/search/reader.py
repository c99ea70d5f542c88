"""Search without Spark: answers from committed runs, with the ranking of the job ``search``."""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.arrow import arrow_to_lists
from resight.config import SettingError
from resight.diffusion.observe import QueryLists, observe_queries
from resight.graph.builds import of_images
from resight.reader import Reader, take_snapshot
from resight.search.answer import Answer
from resight.search.describe import (
    Asked,
    Query,
    collect_vectors,
    is_picture,
    list_queries,
    pack_regions,
    read_content,
)
from resight.search.diffused import explain_answer, search_distinct
from resight.search.filter import Filter, parse_filter
from resight.search.local.answer import Keypoints, LocalIndex, answer_index, ask_index
from resight.search.moment import Moment, Searched
from resight.search.rank import answer_queries
from resight.search.settings import SearchSettings, needs_fusion, needs_index, needs_regions
from resight.tables import DUPLICATE_GROUPS, NEIGHBORS


class Found(NamedTuple):
    """Answers: ``results`` has query, rank, image_id, uri, score and region_ix; ``queries`` a row per query.

    ``query`` counts from 0 in the order of asking; ``region_ix`` is the region that adds most to the score
    where diffusion over regions reached the image, else null. ``queries`` has query, status, error,
    no_support (the graph has nothing near the query: similarity alone ranks), iterations and residual of the
    solver. A query whose status is not ok has no results.
    """

    results: pa.Table
    queries: pa.Table


class Searcher:
    """An open workspace: see `resight.open`. Threads may share it.

    It answers from what was committed when it was opened; `refresh` looks for newer runs.
    """

    def __init__(self, root: str, named: Mapping[str, str], *, threads: int = 1) -> None:
        self.root, self.named, self.threads = root, dict(named), threads
        self.describing = Lock()  # networks and their native threads serve one caller at a time
        self.moment = Moment(take_snapshot(root), self.named)

    def refresh(self) -> None:
        """Answer from the newest committed runs from now on; calls under way end with the older ones."""
        self.moment = Moment(take_snapshot(self.root), self.named)

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
        if needs_fusion(wanted):
            raise SettingError("method: fused rankings come from the job, `resight search --method fused`")
        moment = self.moment
        if needs_index(wanted):
            return self.search_local(list_queries(query), moment, wanted, filter)
        searched = moment.open(wanted)
        asked = self.read_queries(query, moment, searched)
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
        return tabulate(moment, searched, asked, dict(zip(usable.tolist(), answers, strict=True)))

    def search_local(
        self, queries: Sequence[Query], moment: Moment, wanted: SearchSettings, filter: Filter
    ) -> Found:
        """Rank the images of an index by local features."""
        local = moment.local
        allowed = moment.allow(parse_filter(filter), local) if filter else None
        with self.describing:
            keypoints = ask_index(queries, moment, local, threads=self.threads)
        answers = answer_index(queries, keypoints, local, wanted, allowed)
        return tabulate(moment, local, keypoints, answers)

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
            ``query_neighbors`` and ``gamma``: what the query observes.

        Returns
        -------
        Table
            hop, src (null: the query), dst, dst_uri, affinity, product so far; without rows where there is no
            chain.
        """
        wanted = SearchSettings.from_mapping({"method": "diffusion", **settings})
        moment = self.moment
        searched = moment.open(wanted)
        asked, X = self.read_queries([query], moment, searched), searched.collection.X
        target = X.ordinal_of(np.array([moment.id_of(image)]))
        if asked.status != ["ok"] or target[0] < 0:
            raise SettingError(f"nothing to explain: {asked.error[0] or f'{image!r} has no vector'}")
        lists = search_distinct(asked.Q, X, k=wanted.k_q)
        observed = observe_queries(QueryLists(*lists), k_q=wanted.k_q, gamma=wanted.gamma, n_queries=1)
        path = explain_answer(target, 0, observed, searched.collection)[0]
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

    def read_queries(self, query: Query | Sequence[Query], moment: Moment, searched: Searched) -> Asked:
        """Give the vectors of queries; images are described by the settings of the collection's build."""
        queries = list_queries(query)
        pictures = [read_content(one) for one in queries if is_picture(one)]
        described = None
        if pictures:
            recipe = moment.recipe(searched.described)
            with self.describing:
                described = recipe.describe(pictures, threads=self.threads)
        return collect_vectors(queries, searched.collection.X, described)


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


def tabulate(
    moment: Moment, searched: Searched | LocalIndex, asked: Asked | Keypoints, answers: Mapping[int, Answer]
) -> Found:
    """Lay out the answers of the queries that are usable."""
    X, n = searched.collection.X, len(asked.status)
    ids = X.id_of(join([answer.ordinals for answer in answers.values()], np.int64))
    counts = [len(answer.ordinals) for answer in answers.values()]
    results = pa.table(
        {
            "query": np.repeat(np.array([*answers], np.int32), counts),
            "rank": join([np.arange(count) for count in counts], np.int32),
            "image_id": ids,
            "uri": moment.uris_of(ids),
            "score": join([answer.scores for answer in answers.values()], np.float32),
            "region_ix": join_regions([*answers.values()]),
        }
    )
    flags = [answers.get(i) for i in range(n)]
    queries = pa.table(
        {
            "query": np.arange(n, dtype=np.int32),
            "status": pa.array(asked.status, pa.string()),
            "error": pa.array(asked.error, pa.string()),
            "no_support": pa.array([answer and answer.no_support for answer in flags], pa.bool_()),
            "iterations": pa.array([answer and answer.iterations for answer in flags], pa.int32()),
            "residual": pa.array([answer and answer.residual for answer in flags], pa.float64()),
        }
    )
    return Found(results, queries)


def join_regions(answers: Sequence[Answer]) -> pa.Array:
    """Give the regions (m,) int32 of all results; null where diffusion over regions did not reach one."""
    nowhere = [np.full(len(a.ordinals), -1) if a.regions is None else a.regions for a in answers]
    regions = join(nowhere, np.int32)
    return pa.array(regions, pa.int32(), mask=regions < 0)


def join(pieces: Iterable[np.ndarray], dtype: type) -> np.ndarray:
    """Concatenate pieces (m,), of which there may be none."""
    return np.concatenate([np.zeros(0, dtype), *pieces]).astype(dtype)
