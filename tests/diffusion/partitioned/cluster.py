"""A search on a local cluster: over a graph in two parts, over all of it, over shortlists of everything.

Writes the rankings. While the parts are solved, the executor of one of them is killed.
"""

import os
import signal
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

import resight.search.partitioned.spark as partitioned
from resight import files
from resight.arrow import vectors_to_arrow
from resight.diffusion.partitioned.rank import RankWork
from resight.diffusion.partitioned.storage.spark import write_partitioned_files
from resight.search.settings import SearchSettings
from resight.search.spark import search, unpack_results
from resight.session import start_session
from tests.diffusion.partitioned.tables import graph_tables, save_planted

CLUSTER = {
    "spark.master": "local-cluster[2,1,2048]",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",  # to compile the plans of small tables costs more than it saves
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
VICTIM, AFTER = 1, 40  # the rank whose executor dies, and at which exchange of its halo


class DyingWork(RankWork):
    """Work that kills its executor once and counts exchanges; workers get it whole: they lack this file."""

    def __call__(self, exchange):
        """Do what `RankWork` does."""
        swap, n_swaps, marker = exchange.swap, 0, f"{self.folder}/died"

        def count(gives, takes):
            nonlocal n_swaps
            n_swaps += 1
            files.write_bytes(f"{self.folder}/swaps-{exchange.rank}-{os.getpid()}", str(n_swaps).encode())
            if exchange.rank == VICTIM and n_swaps == AFTER and files.create_once(marker, b""):
                os.kill(find_executor(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)  # which would notice some exchanges later
            swap(gives, takes)

        exchange.swap = count
        yield from super().__call__(exchange)


def find_executor():
    """Go up from a Python worker to the process of its executor."""
    pid = os.getppid()
    while Path(f"/proc/{pid}/comm").read_text().strip() != "java":
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return pid


def main(folder):
    session = start_session(CLUSTER)
    try:
        searched, ids, A = save_planted(folder / "collection")
        tables = graph_tables(session, searched, ids, A)
        parts = write_partitioned_files(tables, str(folder / "parts"), n_parts=2)
        packed = vectors_to_arrow(searched.open().X.gather(np.arange(20))).to_pylist()
        rows = [(i, bytearray(vector)) for i, vector in enumerate(packed)]
        queries = session.createDataFrame(rows, "query_id long, vector binary").repartition(2)
        settings = SearchSettings(method="diffusion", depth=10, tol=1e-9)
        partitioned.RankWork = DyingWork
        found = partitioned.search_partitioned(
            queries, (searched, parts), settings, str(folder / "search"), source_dtype="float32", every=10
        )
        pq.write_table(found.select("query_id", "iterations").toArrow(), folder / "solved.parquet")
        whole = search(queries, searched, settings, source_dtype="float32")
        everything = msgspec.structs.replace(settings, shortlist=10**6)
        short = search(queries, searched, everything, source_dtype="float32")
        for name, answers in (("partitioned", found), ("replicated", whole), ("truncated", short)):
            pq.write_table(unpack_results(answers, "diffusion").toArrow(), folder / f"{name}.parquet")
    finally:
        session.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
