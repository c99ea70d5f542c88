"""Which searches by local features a fused ranking, or the graph behind it, may be made from."""

from collections.abc import Mapping

from resight.config import SettingError
from resight.rerank.fuse import MOST
from resight.workspace import Run

BY_INDEX = ("asmk", "hqe")


def is_deep(ranked: Run) -> bool:
    """Whether a search lists as many images as may stand out, of the whole collection."""
    depth = ranked.settings.get("depth")
    long = depth == "all" or (isinstance(depth, int) and depth > MOST)
    return long and not ranked.settings.get("filter")


def check_ranking(ranked: Run, option: str = "--ranked") -> None:
    """Raise `SettingError` where a search does not tell enough for the lists of a graph."""
    asked = {name: ranked.settings.get(name) for name in ("method", "queries_from", "depth", "filter")}
    if asked["method"] not in BY_INDEX or asked["queries_from"] != "collection" or not is_deep(ranked):
        raise SettingError(
            f"{option}: {ranked.name!r} is a search with {asked}; it takes one with --method asmk "
            f"--queries-from collection --depth {MOST + 1} or more, and no filter"
        )


def check_same_queries(ranked: Run, asked: Mapping[str, object], version: str) -> None:
    """Raise `SettingError` where ``ranked`` is no search by local features of the queries of this one.

    ``asked`` are the settings of this search that name its queries, ``version`` is that of their files.
    """
    same = all(ranked.settings.get(name) == value for name, value in asked.items())
    if not same or ranked.inputs.get("external") != version:
        raise SettingError(
            f"--also: {ranked.name!r} is no search of the very same queries: run that one anew"
        )
    if ranked.settings.get("method") not in BY_INDEX or not is_deep(ranked):
        raise SettingError(
            f"--also: {ranked.name!r} must be a search with --method asmk or hqe, --depth {MOST + 1} or "
            "more, and no filter"
        )


def check_answered(n_new: int, ranked: Run, option: str = "--ranked") -> None:
    """Raise `SettingError` where ``n_new`` described images did not ask in the search ``ranked``."""
    if n_new:
        raise SettingError(
            f"{option}: {n_new} images with descriptors did not ask in the search {ranked.name!r}, such as "
            "those that came since: run build-index and that search again, then build-graph"
        )
