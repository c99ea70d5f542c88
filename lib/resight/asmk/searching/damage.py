"""Which shards of an index are not what was written, found without Spark."""

from resight import files
from resight.asmk.shard import NAMES, CorruptShardError, verify_shard
from resight.tables import SHARDS
from resight.workspace import Output, Workspace

__all__ = ["find_damaged"]


def find_damaged(workspace: Workspace, build_id: str, output: Output) -> list[str]:
    """List the folders of damaged shards of a build in a version of `SHARDS`.

    All sizes are compared. Checksums are computed where the files lie on a disk of this machine, once per
    state of the files; a remote store answers for the content of its objects itself.
    """
    columns = ["shard", "path", "n_bytes", "sha256"]
    rows = workspace.dataset(SHARDS, build_id, output).to_table(columns).sort_by("shard").to_pylist()
    folders = [files.join(workspace.root, row["path"]) for row in rows]
    sizes = files.file_sizes([files.join(folder, name) for folder in folders for name in NAMES])
    damaged = []
    for place, (row, folder) in enumerate(zip(rows, folders, strict=True)):
        own = sizes[place * len(NAMES) : (place + 1) * len(NAMES)]
        if min(own) < 0 or sum(own) != row["n_bytes"] or not is_sound(folder, row["sha256"]):
            damaged.append(folder)
    return damaged


def is_sound(folder: str, sha256: str) -> bool:
    """Whether the files of a shard have its checksum, or lie where that is not computed."""
    if files.local_path(folder) is None:
        return True
    try:
        verify_shard(folder, sha256)
    except CorruptShardError:
        return False
    return True
