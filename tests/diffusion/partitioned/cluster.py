"""A search over a graph in two parts on a local cluster and over the whole graph; writes both rankings."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from resight.arrow import vectors_to_arrow
from resight.diffusion.partitioned.storage.spark import write_partitioned_files
from resight.search.partitioned.spark import search_partitioned
from resight.search.settings import SearchSettings
from resight.search.spark import search, unpack_results
from resight.session import start_session
from tests.diffusion.partitioned.tables import graph_tables, save_planted

CLUSTER = {
    "spark.master": "local-cluster[2,1,2048]",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


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
        found = search_partitioned(
            queries, (searched, parts), settings, str(folder / "search"), source_dtype="float32"
        )
        whole = search(queries, searched, settings, source_dtype="float32")
        for name, answers in (("partitioned", found), ("replicated", whole)):
            pq.write_table(unpack_results(answers, "diffusion").toArrow(), folder / f"{name}.parquet")
    finally:
        session.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
