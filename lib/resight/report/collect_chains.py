"""From the table of explanations to the section of chains."""

import pyarrow as pa
import pyarrow.compute as pc

from resight.report.chains import Chain, Chains
from resight.report.sections import Missing, Photo, Section
from resight.report.source import Source
from resight.tables import EXPLANATIONS, QUERIES

COLUMNS = ["query_id", "image_id", "hop", "dst", "affinity"]


def collect_chains(source: Source) -> Section:
    """Take the longest chain of each of some sampled queries."""
    if not source.reader.has(EXPLANATIONS):
        words = "No result was explained: `resight search --method diffusion --explain 3` writes the chains."
        return Missing("chains", "Why diffusion found it", words)
    build = source.reader.find(EXPLANATIONS).build_id
    first = pc.field("hop") == 0
    some, n_explained = source.draw(EXPLANATIONS, "query_id", source.n_neighbours, filter=first, build=build)
    drawn = some.tolist()
    hops = source.look_up(EXPLANATIONS, COLUMNS, "query_id", drawn, build=build)
    asked = source.look_up(
        QUERIES, ["query_id", "uri", "image_id"], "query_id", drawn, build=build
    ).to_pylist()
    chains = {row["query_id"]: longest_chain(hops, row["query_id"]) for row in asked}
    photos = source.read_photos(
        [
            *(dst for chain in chains.values() for dst, _ in chain),
            *(r["image_id"] for r in asked if r["image_id"]),
        ]
    )
    shown = [
        Chain(
            photos.get(row["image_id"], Photo(row["query_id"], row["uri"])),
            tuple((photos[dst], affinity) for dst, affinity in chains[row["query_id"]]),
        )
        for row in asked
        if chains[row["query_id"]]
    ]
    return Chains(tuple(shown), n_explained)


def longest_chain(hops: pa.Table, query_id: int) -> list[tuple[int, float]]:
    """Give (image, affinity) of each hop of the longest chain of a query."""
    chains: dict[int, list[tuple[int, int, float]]] = {}
    for row in hops.to_pylist():
        if row["query_id"] == query_id:
            chains.setdefault(row["image_id"], []).append((row["hop"], row["dst"], row["affinity"]))
    if not chains:
        return []
    longest = max(sorted(chains), key=lambda image: len(chains[image]))
    return [(dst, affinity) for _, dst, affinity in sorted(chains[longest])]
