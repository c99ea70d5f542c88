"""Which committed files a search opens, found without Spark and chosen as the job ``search`` chooses."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from resight import files
from resight.config import SettingError, digest_of
from resight.graph.builds import of_images, of_regions
from resight.graph.matrix import load_graph_files
from resight.knn.matrix import load_vector_files
from resight.search.collection import SearchFiles
from resight.search.manifold import load_manifold_files
from resight.search.regions import RegionFiles, load_region_files
from resight.search.settings import SearchSettings, needs_manifold, needs_regions, opens_graph
from resight.tables import EDGES, GLOBAL_DESCRIPTORS, MANIFOLD_NEIGHBORS, REGION_DESCRIPTORS, Table
from resight.workspace import Run, Workspace, ancestor

Files = TypeVar("Files")


class LackingError(SettingError):
    """The files that a job is to write for a committed run are not there yet."""


class Located(NamedTuple):
    """Files of a search, the run whose descriptors it ranks by, and that of the offline diffusion, if any."""

    files: SearchFiles
    described: Run
    diffused: Run | None = None


def locate_files(workspace: Workspace, settings: SearchSettings, named: Mapping[str, str]) -> Located:
    """Find the files of the builds that ``named`` names, by default the newest.

    Raises
    ------
    SettingError
        There is no such build, builds do not belong together; `LackingError`: a job has yet to write the
        files.
    """
    runs = choose_runs(workspace, settings, named)
    described = runs[GLOBAL_DESCRIPTORS.name]
    folder = shard_folder(workspace, GLOBAL_DESCRIPTORS, described)
    vectors = load_files(load_vector_files, folder, "build-graph")
    graph = manifold = None
    if needs_regions(settings):
        return Located(SearchFiles(vectors, regions=locate_regions(workspace, runs)), described)
    if opens_graph(settings):
        folder = shard_folder(workspace, EDGES, runs[EDGES.name])
        graph = load_files(load_graph_files, folder, "diffuse")
    if needs_manifold(settings):
        folder = shard_folder(workspace, MANIFOLD_NEIGHBORS, runs[MANIFOLD_NEIGHBORS.name])
        of_vectors = files.join(folder, described.outputs[GLOBAL_DESCRIPTORS.name].digest)
        manifold = load_files(load_manifold_files, of_vectors, "search --method offline_diffusion")
    return Located(SearchFiles(vectors, graph, manifold), described, runs.get(MANIFOLD_NEIGHBORS.name))


def locate_regions(workspace: Workspace, runs: Mapping[str, Run]) -> RegionFiles:
    """Find the files of a graph of regions; `SettingError` where the job has yet to write them."""
    graph, described = runs[EDGES.name], runs[GLOBAL_DESCRIPTORS.name]
    job = "search --method regional_diffusion"
    kept = digest_of([graph.settings["compress"], graph.settings["seed"]])
    folder = shard_folder(workspace, REGION_DESCRIPTORS, runs[REGION_DESCRIPTORS.name])
    vectors = load_files(load_vector_files, files.join(folder, kept), job)
    folder = shard_folder(workspace, EDGES, graph)
    edges = load_files(load_graph_files, folder, job)
    of_images = f"regions-{described.outputs[GLOBAL_DESCRIPTORS.name].digest}"
    return load_files(lambda f: load_region_files(f, vectors, edges), files.join(folder, of_images), job)


def choose_runs(workspace: Workspace, settings: SearchSettings, named: Mapping[str, str]) -> dict[str, Run]:
    """Choose the run of every table that the method reads: table -> run."""
    wanted = (
        (MANIFOLD_NEIGHBORS, "manifold", needs_manifold(settings), bool),
        (EDGES, "graph", opens_graph(settings), of_images),
        (EDGES, "graph", needs_regions(settings), of_regions),
        (REGION_DESCRIPTORS, "descriptors", needs_regions(settings), bool),
        (GLOBAL_DESCRIPTORS, "descriptors", True, bool),
    )
    builds, chosen = workspace.builds(), dict[str, Run]()
    for table, option, needed, kind in wanted:
        if needed:
            build = named.get(option) or ancestor(table, list(chosen.values()), builds)
            chosen[table.name] = workspace.find_build(table, build, kind)
    described = chosen[GLOBAL_DESCRIPTORS.name]
    for run in chosen.values():
        made_of = ancestor(GLOBAL_DESCRIPTORS, [run], builds)
        if described.build_id not in (run.build_id, made_of):
            raise SettingError(
                f"descriptors: {run.name!r} was made from another build than {described.name!r}; "
                "name the one that belongs to it, or none"
            )
    return chosen


def check_alpha(settings: SearchSettings, run: Run) -> None:
    """Raise `SettingError` where the rows of an offline diffusion are of another alpha than is asked for."""
    made = run.settings.get("alpha", settings.alpha)
    if made != settings.alpha:
        raise SettingError(
            f"alpha: the rows of {run.name!r} were solved with alpha {made:g}, not {settings.alpha:g}; "
            "ask with theirs, or run diffuse with this one"
        )


def shard_folder(workspace: Workspace, table: Table, run: Run) -> str:
    """Folder of the files that jobs make from this version of ``table``."""
    name = f"{table.name}-{run.build_id}"
    return files.join(workspace.root, "shards", name, run.outputs[table.name].digest)


def load_files(load: Callable[[str], Files], folder: str, job: str) -> Files:
    """Read the list of files in ``folder``; `LackingError` names the job that writes them."""
    try:
        return load(folder)
    except FileNotFoundError:
        raise LackingError(
            f"{folder} holds no files: `resight {job}` writes them for the newest run (then refresh)"
        ) from None
