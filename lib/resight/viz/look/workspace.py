"""An open workspace, as the functions of this package take it."""

from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import pyarrow as pa

import resight
from resight.report.source import Source
from resight.search.reader import Searcher
from resight.tables import IMAGES, Table
from resight.viz.album import Album

__all__ = ["Look", "Sentence", "needs", "open_workspace", "write_notes"]

P = ParamSpec("P")
Drawn = TypeVar("Drawn")


class Sentence(str):
    """Words that a notebook shows as text.

    >>> Sentence("There is no graph yet.")._repr_markdown_()
    'There is no graph yet.'
    """

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


class Look:
    """A workspace opened to look at it; ``tables`` reads it, ``album`` holds its photos.

    Parameters
    ----------
    searcher : Searcher
        As `resight.open` gives it.
    seed : int
        Of every sample; another one shows other photos.
    """

    def __init__(self, searcher: Searcher, *, seed: int = 0) -> None:
        self.searcher, self.seed = searcher, seed
        self.tables = searcher.tables
        self.source = Source(self.tables, 0, 0, seed)
        self.album = Album(self.tables)

    @cached_property
    def n_images(self) -> int:
        """How many images there are, readable or not."""
        return self.source.count(IMAGES) if self.tables.has(IMAGES) else 0

    def draw(self, table: Table, key: str, n: int) -> np.ndarray:
        """Draw ``n`` ids of a column by their hash."""
        return np.sort(self.source.draw(table, key, n)[0])

    def read(self, table: Table, columns: list[str], key: str, ids: np.ndarray) -> pa.Table:
        """Read the rows whose ``key`` is one of a few ids."""
        return self.source.look_up(table, columns, key, ids.tolist())


def open_workspace(root: str, *, seed: int = 0, **named: str) -> Look:
    """Open a workspace for the functions of this package.

    Parameters
    ----------
    root : str
        Of the workspace.
    seed : int
        Of every sample.
    **named : str
        Builds to search by, as `resight.open` takes them: ``descriptors``, ``graph``, ``index``, ...
    """
    return Look(resight.open(root, **named), seed=seed)  # type: ignore[arg-type]


Drawing = Callable[Concatenate[Look, P], Drawn]
Guarded = Callable[Concatenate[Look, P], Drawn | Sentence]


def needs(table: Table, words: str) -> Callable[[Drawing[P, Drawn]], Guarded[P, Drawn]]:
    """Let a function answer with ``words`` where a table was never written."""

    def guard(draw: Drawing[P, Drawn]) -> Guarded[P, Drawn]:
        @wraps(draw)
        def draw_or_say(look: Look, *args: P.args, **options: P.kwargs) -> Drawn | Sentence:
            return draw(look, *args, **options) if look.tables.has(table) else Sentence(words)

        return cast(Guarded[P, Drawn], draw_or_say)

    return guard


def write_notes(notes: Mapping[str, object]) -> str:
    """Write the figures that a job noted about its run, lists and texts left out.

    >>> write_notes({"anchors": 1200, "validation_images": 0.2041, "path": "replicated"})
    ' Noted by the job: anchors 1,200, validation images 0.204.'
    """
    numbers = {name: value for name, value in notes.items() if isinstance(value, (int, float))}
    values = [f"{value:,}" if isinstance(value, int) else f"{value:.3g}" for value in numbers.values()]
    words = [f"{name.replace('_', ' ')} {value}" for name, value in zip(numbers, values, strict=True)]
    return f" Noted by the job: {', '.join(words)}." if words else ""
