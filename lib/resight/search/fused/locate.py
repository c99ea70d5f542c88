"""Which committed files a fused search opens, found without Spark and chosen as the job chooses."""

from collections.abc import Mapping
from typing import NamedTuple

from resight.config import SettingError
from resight.graph.builds import of_fused
from resight.graph.matrix import load_graph_files
from resight.knn.matrix import VectorFiles, load_vector_files
from resight.search.collection import SearchFiles
from resight.search.fused.similarity import COLOUR
from resight.search.locate import load_files, shard_folder
from resight.tables import EDGES, GLOBAL_DESCRIPTORS, MODELS, RESULTS, SHARDS
from resight.workspace import Run, Workspace, ancestor


class FusedBuilds(NamedTuple):
    """The runs behind a fused search; ``colour`` and ``further``, a search, where there are such."""

    graph: Run
    described: Run
    indexed: Run
    colour: Run | None = None
    further: Run | None = None


def choose_fused(workspace: Workspace, named: Mapping[str, str]) -> FusedBuilds:
    """Choose builds by their names, else those that the graph was made from.

    Raises
    ------
    SettingError
        There is no such build, or builds do not belong together.
    """
    builds = workspace.builds()
    graph = workspace.find_build(EDGES, named.get("graph", ""), of_fused)
    base = ancestor(GLOBAL_DESCRIPTORS, [graph], builds)
    described = workspace.find_build(GLOBAL_DESCRIPTORS, named.get("descriptors") or base)
    indexed = workspace.find_build(SHARDS, named.get("index") or ancestor(SHARDS, [graph], builds))
    if described.build_id != base:
        raise SettingError(
            f"descriptors: {graph.name!r} was made from another build than {described.name!r}; name the one "
            "that belongs to it, or none"
        )
    fitted = ancestor(MODELS, [graph], builds, kind=lambda run: run.settings.get("kind") == "codebook")
    if indexed.parents.get(MODELS.name) != fitted:
        raise SettingError(
            f"index: {indexed.name!r} has another codebook than the graph {graph.name!r}; name an index that "
            "has it, or none"
        )
    colour = named.get("colour") or ancestor(GLOBAL_DESCRIPTORS, [graph], builds, role=COLOUR)
    return FusedBuilds(
        graph,
        described,
        indexed,
        workspace.find_build(GLOBAL_DESCRIPTORS, colour) if colour else None,
        workspace.find_build(RESULTS, named["also"]) if named.get("also") else None,
    )


def locate_searched(workspace: Workspace, builds: FusedBuilds) -> SearchFiles:
    """Find the vectors and the graph; `SettingError` where a job has yet to write the files."""
    graph = shard_folder(workspace, EDGES, builds.graph)
    vectors = locate_vectors(workspace, builds.described)
    return SearchFiles(vectors, load_files(load_graph_files, graph, "search --method fused"))


def locate_vectors(workspace: Workspace, described: Run) -> VectorFiles:
    """Find the vectors of a build of descriptors."""
    folder = shard_folder(workspace, GLOBAL_DESCRIPTORS, described)
    return load_files(load_vector_files, folder, "build-graph")
