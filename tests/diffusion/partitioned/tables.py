"""Tables of a planted collection, and what a barrier stage does to be watched."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from resight import files
from tests.search.collections import save_collection
from tests.synthetic import planted


def save_planted(folder):
    """Write a collection with copies: files, representatives' ids and dense affinity."""
    rng = np.random.default_rng(3)
    vectors = planted(rng, k=8, m=8, n_distractors=20, n_copies=12, d=16).vectors
    ids = rng.permutation(10 * len(vectors))[: len(vectors)].astype(np.int64)
    searched, first, A = save_collection(folder, ids, vectors)
    return searched, searched.open().X.id_of(first), A


def graph_tables(spark, searched, ids, A):
    """Frames of nodes, edges and components in no order."""
    from scipy.sparse.csgraph import connected_components

    X, rng = searched.open().X, np.random.default_rng(0)
    copies = X.id_of(X.copies[0]).tolist()
    nodes = [(int(i), "ok", None) for i in ids]
    nodes += [(c, "ok", int(f)) for c, f in zip(copies, X.id_of(X.copies[1]), strict=True)]
    nodes += [(5_000_000, "nan", None)]
    label = connected_components(A > 0)[1]
    smallest = [int(ids[label == i].min()) for i in label]
    components = list(zip(ids.tolist(), smallest, strict=True))
    src, dst = A.nonzero()
    edges = list(zip(ids[src].tolist(), ids[dst].tolist(), A[src, dst].tolist(), strict=True))
    frames = [
        (nodes, "node_id long, status string, dup_of long"),
        (edges, "src long, dst long, affinity double"),
        (components, "node_id long, component_id long"),
    ]
    shuffled = [([rows[i] for i in rng.permutation(len(rows))], schema) for rows, schema in frames]
    return tuple(spark.createDataFrame(rows, schema) for rows, schema in shuffled)


def watched(work, folder, *, victim, after):
    """Wrap a rank's work: it logs what files it opens and its swaps; ``victim`` dies once, by SIGKILL."""

    def run(exchange):
        opened = []
        sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
        swap, log, n_swaps = exchange.swap, f"{folder}/{exchange.rank}-{os.getpid()}", 0

        def count(gives, takes):
            nonlocal n_swaps
            n_swaps += 1
            with Path(f"{log}.swaps").open("a") as stream:
                stream.write("x")
            marker = f"{folder}/died"
            if exchange.rank == victim and n_swaps == after and files.create_once(marker, b""):
                os.kill(os.getpid(), signal.SIGKILL)
            swap(gives, takes)

        exchange.swap = count
        yield from work(exchange)
        files.write_bytes(f"{log}.opened", "\n".join(opened).encode())

    return run
