"""Where the files of an index lie, found without Spark and chosen as the job ``search`` chooses."""

from resight import files
from resight.asmk.searching.index import IndexFiles, load_index_files
from resight.config import SettingError, digest_of
from resight.tables import IMAGE_STATS, SHARDS, WORD_STATS
from resight.workspace import Run, Workspace


def index_folder(root: str, indexed: Run) -> str:
    """Folder of the files that belong to this version of an index, beside its shards."""
    digests = {table.name: indexed.outputs[table.name].digest for table in (IMAGE_STATS, SHARDS, WORD_STATS)}
    own = digests.pop(IMAGE_STATS.name)
    name = f"{IMAGE_STATS.name}-{indexed.build_id}"
    return files.join(root, "shards", name, own, digest_of(digests))


def locate_index(workspace: Workspace, build: str) -> tuple[IndexFiles, Run]:
    """Find the files of an index by its build, by default the newest, and the run that made it.

    Raises
    ------
    SettingError
        There is no such build, or a job has yet to write the files.
    """
    indexed = workspace.find_build(SHARDS, build)
    folder = index_folder(workspace.root, indexed)
    try:
        return load_index_files(folder, workspace.root), indexed
    except FileNotFoundError:
        raise SettingError(
            f"{folder} holds no files: `resight search --method asmk` writes them for the newest index "
            "(then refresh)"
        ) from None
