"""Diffuse from every image ahead of time: a query is then answered without solving anything."""

from typing import Annotated

from resight.cli import run
from resight.config import Config, Meta, digest_of, execution
from resight.diffusion.block import DiffuseWork
from resight.diffusion.spark import diffuse_nodes, measure_shortlists
from resight.graph.builds import of_images
from resight.job import Input, job
from resight.jobs.build_graph import open_graph
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES, MANIFOLD_NEIGHBORS, NODES


class DiffuseConfig(Config, frozen=True):
    """Settings of ``diffuse``."""

    graph: Annotated[str, Meta(description="build of the graph; default: the newest")] = ""
    alpha: Annotated[
        float, Meta(gt=0, lt=1, description="weight of the walk; .99 (the paper) for large instances")
    ] = 0.8
    shortlist: Annotated[int, Meta(ge=1, description="nodes around each that take part in its system")] = 1000
    depth: Annotated[int, Meta(ge=1, description="best nodes of each that are kept")] = 100
    max_iter: Annotated[int, Meta(ge=1, description="steps of conjugate gradient")] = 20
    tol: Annotated[float, Meta(gt=0, lt=1, description="relative residual that ends the steps before")] = 1e-6
    block_nodes: Annotated[int, execution("nodes per block of work: bounds memory", ge=1)] = 4096


@job(
    "diffuse",
    DiffuseConfig,
    reads=tuple(Input(table, "graph", kind=of_images) for table in (EDGES, NODES, COMPONENTS)),
    writes=(MANIFOLD_NEIGHBORS,),
)
def main(store: TableStore, conf: DiffuseConfig) -> None:
    """Solve one small system per node, among the nodes that a walk from it reaches first.

    Yang et al., "Efficient image retrieval via decoupling diffusion", AAAI 2019. Blocks that an interrupted
    run has finished are not computed again.
    """
    version = store.source(EDGES)[1].digest
    work = DiffuseWork(
        open_graph(store), version, conf.alpha, conf.shortlist, conf.depth, conf.max_iter, conf.tol
    )
    folder = store.staging(digest_of([version, conf.block_nodes]))
    rows, blocks = diffuse_nodes(store.spark, work, folder, block_nodes=conf.block_nodes)
    store.write(MANIFOLD_NEIGHBORS, rows)
    kept = measure_shortlists(store.spark, work)
    store.note(nodes=work.graph.n, blocks=blocks, kept_of_ten_best=round(kept, 4))


if __name__ == "__main__":
    run(main)
