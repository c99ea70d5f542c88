"""Notebook 02: photos asked by every method, why results were found, where methods disagree."""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.config import SettingError
from resight.report.source import is_one_of
from resight.tables import EXPLANATIONS, GLOBAL_DESCRIPTORS, NEIGHBORS, QUERIES
from resight.viz.figure import Picture, draw_sentence
from resight.viz.graphs import draw_manifold
from resight.viz.look.index import NO_GRAPH
from resight.viz.look.workspace import Look, Sentence, needs
from resight.viz.pictures import Shown
from resight.viz.rankings import draw_chains, draw_methods, draw_overlaps, draw_results, overlap_lists

__all__ = [
    "Answers",
    "ask_methods",
    "draw_agreement",
    "draw_answers",
    "draw_disagreements",
    "draw_filmstrips",
    "draw_manifold_pairs",
]

METHODS = (
    "global",
    "alpha_qe",
    "diffusion",
    "offline_diffusion",
    "regional_diffusion",
    "asmk",
    "hqe",
    "fused",
)
NO_VECTORS = "Nothing was described yet: `resight extract-features` or `resight import-descriptors` does it."
NO_CHAINS = "No result was explained: `resight search --method diffusion --explain 3` writes the chains."


@dataclass(frozen=True)
class Answers:
    """What methods answer to some photos of the collection, each left out of its own answer.

    ``found`` maps a method to its rows (query, rank, image_id, score), ``missing`` to why it was not asked.
    """

    queries: tuple[int, ...]
    depth: int
    found: dict[str, pa.Table] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def _repr_markdown_(self) -> str:
        asked = f"{len(self.queries)} photos asked by: {', '.join(self.found) or 'no method'}."
        why = [f"- not by {method}: {reason}" for method, reason in self.missing.items()]
        return "\n".join([asked, "", *why])

    def lists(self, query: int) -> dict[str, np.ndarray]:
        """Give what each method answers to the query of a number, image ids in rank order."""
        chosen = {method: rows.filter(pc.equal(rows["query"], query)) for method, rows in self.found.items()}
        return {method: rows.sort_by("rank")["image_id"].to_numpy() for method, rows in chosen.items()}


@needs(GLOBAL_DESCRIPTORS, NO_VECTORS)
def ask_methods(look: Look, n: int = 12, *, depth: int = 10, methods: tuple[str, ...] = METHODS) -> Answers:
    """Ask some photos of the collection, drawn by chance, by every method for which there is an index."""
    fine = pc.field("status") == "ok"
    drawn = look.source.draw(GLOBAL_DESCRIPTORS, "image_id", n, filter=fine)[0].tolist()
    answers = Answers(tuple(drawn), depth)
    for method in methods if drawn else ():
        try:
            answers.found[method] = look.searcher.search(drawn, method=method, depth=depth).results
        except SettingError as error:
            answers.missing[method] = str(error)
    return answers


def draw_answers(look: Look, answers: Answers | Sentence, method: str, *, n: int = 4) -> Picture | Sentence:
    """Draw what one method answers to the first ``n`` photos."""
    if isinstance(answers, Sentence):
        return answers
    if method not in answers.found:
        return Sentence(f"Not asked by {method}: {answers.missing.get(method, 'not among the methods')}.")
    asked = {number: look.album.show(image) for number, image in enumerate(answers.queries[:n])}
    return draw_results(asked, answers.found[method], look.album, depth=answers.depth, title=method)


def draw_agreement(answers: Answers | Sentence) -> Picture | Sentence:
    """Draw how much of their answers methods share, on average over the photos that were asked."""
    if isinstance(answers, Sentence):
        return answers
    methods, n = [*answers.found], max(len(answers.queries), 1)
    shares = np.eye(len(methods))
    for query in range(len(answers.queries)):
        lists = answers.lists(query)
        for i, j in combinations(range(len(methods)), 2):
            shares[i, j] += overlap_lists(lists[methods[i]], lists[methods[j]]) / n
    shares = np.maximum(shares, shares.T)
    return draw_overlaps(methods, shares, depth=answers.depth)


def draw_disagreements(look: Look, answers: Answers | Sentence, *, place: int = 0) -> Picture | Sentence:
    """Draw what every method answers to the photo about which they agree least (``place`` 0)."""
    if isinstance(answers, Sentence):
        return answers
    if len(answers.found) < 2:
        return Sentence("One method only was asked: there is nothing to disagree with.")
    shared = [mean_overlap(answers, query) for query in range(len(answers.queries))]
    query = int(np.argsort(shared, kind="stable")[min(place, len(shared) - 1)])
    image = answers.queries[query]
    words = f"{look.album.name(image)}: methods share {100 * shared[query]:.0f} % of their answers"
    return draw_methods(look.album.show(image), answers.lists(query), look.album, title=words)


def mean_overlap(answers: Answers, query: int) -> float:
    """Mean share that two methods have in common of their answers to one query."""
    pairs = combinations(answers.lists(query).values(), 2)
    return float(np.mean([overlap_lists(a, b) for a, b in pairs]))


@needs(EXPLANATIONS, NO_CHAINS)
def draw_filmstrips(look: Look, n: int = 4) -> Picture:
    """Draw, for the longest explained chains, the photos on the way from the query to the result."""
    build = look.tables.find(EXPLANATIONS).build_id
    longest: list[tuple[int, int, int]] = []
    for batch in look.source.batches(EXPLANATIONS, ["query_id", "image_id", "hop"], build=build):
        columns = (batch[name].to_pylist() for name in ("hop", "query_id", "image_id"))
        longest = sorted({*longest, *zip(*columns, strict=True)}, key=lambda t: (-t[0], *t[1:]))[: 50 * n]
    best: dict[int, tuple[int, int, int]] = {}
    for chain in longest:
        best.setdefault(chain[1], chain)
    chosen = [chain for chain in longest if best[chain[1]] == chain][:n]
    asked = [query for _, query, _ in chosen]
    rows = look.source.read(EXPLANATIONS, CHAIN, filter=is_one_of("query_id", asked), build=build)
    wanted = pa.array([image for _, _, image in chosen], pa.int64())
    rows = rows.filter(pc.is_in(rows["image_id"], value_set=wanted))
    return draw_chains(rows, show_queries(look, asked, build), look.album, title="From query to result")


CHAIN = ["query_id", "image_id", "hop", "dst", "affinity", "product"]


def show_queries(look: Look, query_ids: list[int], build: str) -> dict[int, Shown]:
    """Give the photos of queries; of those that are no images of the collection, their name."""
    columns = ["query_id", "uri", "image_id"]
    rows = look.source.look_up(QUERIES, columns, "query_id", query_ids, build=build).to_pylist()
    known = {row["query_id"]: row for row in rows}
    shown = {}
    for query in query_ids:
        row = known.get(query, {"image_id": None, "uri": f"query {query}"})
        photo = look.album.show(query if row["image_id"] is None else row["image_id"])
        shown[query] = photo if row["image_id"] is not None else photo.captioned(row["uri"] or "")
    return shown


@needs(NEIGHBORS, NO_GRAPH)
def draw_manifold_pairs(look: Look, n: int = 40, *, k: int = 20, depth: int = 400) -> Picture | Sentence:
    """Draw similarity of descriptors against that over the graph for pairs of some photos and others.

    Hard positives are among the ``k`` nearest over the graph only, hard negatives among the ``k`` nearest by
    descriptors only.
    """
    drawn = look.draw(NEIGHBORS, "src", n).tolist()
    try:
        rows = {
            m: look.searcher.search(drawn, method=m, depth=depth).results for m in ("global", "diffusion")
        }
    except SettingError as error:
        return Sentence(f"Not searched: {error}")
    tables = {name: table.to_pandas()[["query", "image_id", "rank", "score"]] for name, table in rows.items()}
    pairs = tables["global"].merge(tables["diffusion"], on=["query", "image_id"], suffixes=("_e", "_m"))
    if not len(pairs):
        return draw_sentence("The photos have no neighbours in common.")
    near, linked = (pairs[name].to_numpy() < k for name in ("rank_e", "rank_m"))
    kinds = np.select([linked & ~near, near & ~linked, near & linked], [0, 1, 2], 3)
    names = ("hard positive", "hard negative", "near in both", "neither")
    words = f"Pairs of {len(drawn)} photos, {k} nearest of each"
    return draw_manifold(
        pairs["score_e"].to_numpy(), pairs["score_m"].to_numpy(), kinds=kinds, names=names, title=words
    )
