"""Which shards of an index are written again when its collection changes.

Small shards are merged into what is new as a binary counter carries: one that is no larger than all that is
written already joins it. So an image is written again some log2(shard size / increment) times in all, and
there are no more small shards than that.
"""

from collections.abc import Mapping

__all__ = ["choose_rewritten"]


def choose_rewritten(
    live: Mapping[int, int], held: Mapping[int, int], n_new: int, *, limit: int, outdated: frozenset[int]
) -> set[int]:
    """Name the shards whose images go into new ones.

    Parameters
    ----------
    live, held : mapping
        By shard: images that are still indexed, and all that it was written with.
    n_new : int
        Images that are written in any case.
    limit : int
        Images of a full shard; one of half as many is large enough to stay.
    outdated : frozenset of int
        Shards that hold an old state of an image: none of these can stay.

    Examples
    --------
    >>> choose_rewritten({0: 40, 1: 8, 2: 3}, {0: 90, 1: 8, 2: 3}, 4, limit=100, outdated=frozenset())
    {0, 1, 2}
    >>> choose_rewritten({0: 60, 1: 8, 2: 3}, {0: 60, 1: 8, 2: 3}, 5, limit=100, outdated=frozenset())
    {1, 2}
    """
    gone = {shard for shard, n in held.items() if 2 * live.get(shard, 0) < n}
    rewritten = outdated | gone
    n_written = n_new + sum(live.get(shard, 0) for shard in rewritten)
    for shard in sorted(set(held) - rewritten, key=lambda shard: (live.get(shard, 0), shard)):
        n = live.get(shard, 0)
        if 2 * n >= limit or n > n_written:
            break
        rewritten |= {shard}
        n_written += n
    return set(rewritten)
