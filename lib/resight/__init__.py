"""resight ("see it again"): which images of a large collection show the same thing.

Every folder is one method of the field: its kernels (arrays in, arrays out) import no Spark, its
``spark.py`` holds the operators (DataFrame in, DataFrame out). ``jobs/`` chains them over tables.
`open` answers queries from what the jobs have committed, without Spark.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resight.search.reader import Searcher

__all__ = ["open"]


def open(
    workspace: str,
    *,
    descriptors: str = "",
    graph: str = "",
    manifold: str = "",
    index: str = "",
    also: str = "",
    threads: int = 1,
) -> "Searcher":
    """Open a workspace to search it, without Spark.

    Parameters
    ----------
    workspace : str
        Root of a workspace, local or remote.
    descriptors, graph, manifold, index : str
        Builds to search by, as the settings of the job ``search`` name them; by default the newest.
    also : str
        A search by a further index: fused queries are asked there too, in the same way.
    threads : int
        Of the solver, for each call; results do not depend on it.

    Raises
    ------
    resight.config.SettingError
        ``workspace`` is none.
    """
    from resight.search.reader import Searcher

    named = {"descriptors": descriptors, "graph": graph, "manifold": manifold, "index": index}
    return Searcher(workspace, named | {"also": also}, threads=threads)
