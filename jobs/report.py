"""Write one HTML page about the collection: numbers, duplicates, neighbours, failures, quality."""

from typing import Annotated

from resight import files
from resight.cli import run
from resight.config import Config, Meta
from resight.graph.builds import of_images
from resight.job import Input, job
from resight.report.collect import collect_report
from resight.report.page import render_page
from resight.store import TableStore
from resight.tables import (
    AUDITS,
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    EXPLANATIONS,
    GLOBAL_DESCRIPTORS,
    IMAGES,
    METRICS,
    NEIGHBORS,
    OBJECTS,
    PREVIEWS,
    SOURCES,
    TRAINING_LOG,
    TRAINING_POOLS,
)

REPORTED = (
    Input(IMAGES),
    Input(DUPLICATE_GROUPS, "duplicates", optional=True),
    Input(NEIGHBORS, optional=True, kind=of_images),
    *(Input(table, optional=True) for table in (DUPLICATE_PAIRS, GLOBAL_DESCRIPTORS)),
    *(Input(table, optional=True) for table in (AUDITS, EXPLANATIONS)),
    *(Input(table, optional=True) for table in (PREVIEWS, SOURCES, METRICS)),
    *(Input(table, optional=True) for table in (OBJECTS, TRAINING_POOLS, TRAINING_LOG)),
)


class ReportConfig(Config, frozen=True):
    """Settings of ``report``."""

    duplicates: Annotated[str, Meta(description="build of find-duplicates; default: the newest")] = ""

    output: Annotated[str, Meta(description="path of the page; default: report.html in the workspace")] = ""
    title: Annotated[str, Meta(description="heading of the page")] = "resight report"
    groups: Annotated[int, Meta(ge=0, description="duplicate groups shown, the largest first")] = 50
    neighbours: Annotated[int, Meta(ge=0, description="sampled photos whose neighbours are shown")] = 12
    seed: Annotated[int, Meta(description="of the sample")] = 0


@job("report", ReportConfig, reads=REPORTED, engine="local")
def main(store: TableStore, conf: ReportConfig) -> None:
    """Write a self-contained page that works offline; needs no Spark."""
    data = collect_report(
        store.reader, n_groups=conf.groups, n_neighbours=conf.neighbours, seed=conf.seed, title=conf.title
    )
    page = files.absolute(conf.output or files.join(store.workspace.root, "report.html"))
    files.write_bytes(page, render_page(data).encode())
    store.note(page=page)


if __name__ == "__main__":
    run(main)
