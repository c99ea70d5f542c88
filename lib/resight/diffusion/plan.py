"""Which way a diffusion is distributed, chosen in one place."""

from typing import NamedTuple

PATHS = ("replicated", "partitioned", "truncated")
PART_SHARE = 1.5  # of an equal share of the graph that a rank may take while it opens its part
MEASURE_BYTES = 128 << 20  # of the scores of all nodes that a sample of the offline rows is compared with
HALO_SHARE = 1.5  # a rank's vectors, its halo among them, over those of an equal share of the nodes


class Plan(NamedTuple):
    """The path, why it was chosen, and in how many parts the graph is cut (1 unless it is partitioned)."""

    path: str
    reason: str
    n_parts: int = 1


def count_bytes(n: int, nnz: int, n_queries: int) -> tuple[int, int]:
    """Count the bytes of a graph's rows and of the vectors of each query solved together (float64).

    A solve holds seven: the observation, the answer, its residual, and the four of conjugate gradients.

    >>> count_bytes(1_000_000, 13_000_000, 256)
    (164000000, 896000000)
    """
    from resight.diffusion.solve import BLOCK_LANES

    lanes = min(BLOCK_LANES["float64"], max(n_queries, 1))
    return 12 * nnz + 8 * n, 7 * 8 * lanes * n


def count_ranks(n: int, nnz: int, n_queries: int, memory_bytes: int) -> int:
    """Count the ranks that can hold a graph and the vectors of the queries that are solved together."""
    graph, vectors = count_bytes(n, nnz, n_queries)
    return max(1, int(-(-(PART_SHARE * graph + HALO_SHARE * vectors) // memory_bytes)))


def fit_lanes(n: int, nnz: int, n_parts: int, *, memory_bytes: int) -> int:
    """Choose how many queries ``n_parts`` ranks solve together: a power of two, one if even that is too much.

    >>> [fit_lanes(100_000_000, 1_300_000_000, p, memory_bytes=16 << 30) for p in (10, 8, 3, 1)]
    [16, 8, 2, 1]
    """
    from resight.diffusion.solve import BLOCK_LANES

    lanes = BLOCK_LANES["float64"]
    while lanes > 1 and count_ranks(n, nnz, lanes, memory_bytes) > n_parts:
        lanes //= 2
    return lanes


def plan_offline(n: int, nnz: int, *, block_nodes: int, shortlist: int, depth: int, threads: int) -> Plan:
    """Say what a task of the offline diffusion takes; there is one way, whatever the sizes.

    Every task maps the files of the whole graph, which the tasks of a machine share and the system may drop.
    Its own are 16 bytes a node for each thread, where a walk marks what it has seen, and the lists and rows
    of its block of nodes; and once, to measure a sample, the vectors of a few solves over all nodes.

    >>> plan_offline(10**6, 13 * 10**6, block_nodes=4096, shortlist=1000, depth=100, threads=2).reason
    'each task maps the graph, 0.16 GB, which a machine holds once, and fills 0.10 GB; one task 1.07 GB'
    """
    graph, _ = count_bytes(n, nnz, 1)
    own = 16 * n * threads + block_nodes * (13 * min(shortlist, n) + 40 * min(depth, n))
    measured = max(64 * n, 8 * MEASURE_BYTES)
    return Plan(
        "replicated",
        f"each task maps the graph, {graph / 1e9:.2f} GB, which a machine holds once, and fills "
        f"{own / 1e9:.2f} GB; one task {measured / 1e9:.2f} GB",
    )


def choose_path(
    n: int,
    nnz: int,
    n_queries: int,
    *,
    memory_bytes: int,
    n_slots: int | None,
    path: str = "auto",
    of_regions: bool = False,
) -> Plan:
    """Choose how to diffuse ``n_queries`` over a graph of n nodes and nnz stored entries.

    Where one task can hold the graph, every task maps it and no number travels. Else its rows are spread over
    as few ranks as can hold them, if that many run at the same time, or over as many as run, which then solve
    fewer queries together (`fit_lanes`). Else each query is solved among its nearest images alone, which is
    an approximation. A graph of regions is not spread: the regions of an image
    would lie on several ranks.

    Parameters
    ----------
    memory_bytes : int
        Memory that one task may fill.
    n_slots : int or None
        Tasks that a barrier stage can run together; 0 where there can be none, None where it is not known.
    path : str
        One of `PATHS` decides; auto leaves it to the sizes.
    of_regions : bool
        Whether the nodes are regions, whose scores are added image by image.

    Raises
    ------
    ValueError
        An unknown path.

    >>> choose_path(1_000_000, 13_000_000, 256, memory_bytes=4 << 30, n_slots=8)[::2]
    ('replicated', 1)
    >>> choose_path(100_000_000, 1_300_000_000, 256, memory_bytes=16 << 30, n_slots=64)[::2]
    ('partitioned', 10)
    >>> choose_path(100_000_000, 1_300_000_000, 256, memory_bytes=16 << 30, n_slots=4)[::2]
    ('partitioned', 4)
    >>> choose_path(100_000_000, 1_300_000_000, 256, memory_bytes=16 << 30, n_slots=1).path
    'truncated'
    """
    if path not in ("auto", *PATHS):
        raise ValueError(f"path is {path!r}, expected auto, {', '.join(PATHS)}")
    graph, vectors = count_bytes(n, nnz, n_queries)
    n_parts = count_ranks(n, nnz, n_queries, memory_bytes)
    sizes = (
        f"graph {graph / 1e9:.2f} GB and vectors {vectors / 1e9:.2f} GB, {memory_bytes / 1e9:.2f} GB a task"
    )
    if path != "auto":
        return Plan(path, f"as the settings say ({sizes})", n_parts if path == "partitioned" else 1)
    if graph + vectors <= memory_bytes:
        return Plan("replicated", f"{sizes}: each task maps the whole graph")
    if of_regions:
        return Plan("truncated", f"{sizes}: no task holds it, and regions are not spread over ranks")
    if n_slots is None or n_parts <= n_slots:
        return Plan("partitioned", f"{sizes}: its rows are spread over {n_parts} ranks", n_parts)
    fewest = count_ranks(n, nnz, 1, memory_bytes)
    if fewest <= n_slots:
        return Plan("partitioned", f"{sizes}: its rows are spread over all of {n_slots} ranks", n_slots)
    return Plan("truncated", f"{sizes}: {fewest} ranks would hold it, {n_slots} run at the same time")
