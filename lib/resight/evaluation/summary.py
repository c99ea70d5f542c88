"""Figures over queries: means, means per family, macro means over families, each with its interval."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from resight.evaluation.bootstrap import Interval, bootstrap_mean
from resight.tables import METRICS

if TYPE_CHECKING:
    import pandas as pd

SUMMARY = pa.schema([f for f in METRICS.schema if f.name not in ("build_id", "run_id")])
ABOUT_LIST = ("depth", "cut")  # describe the lists, not how good they are: no macro mean
MEANS = ("ap_", "p@")  # figures whose mean has a name of its own


def summarise(per_query: "pa.Table | pd.DataFrame", *, n_resamples: int = 2000, seed: int = 0) -> pa.Table:
    """Aggregate the figures of single queries into rows of `METRICS` (without build and run).

    Parameters
    ----------
    per_query : Table or DataFrame
        Columns ``protocol, method, query_id, family, metric, value``; NaN leaves a query out. Families are
        given for all counted queries or for none.

    Returns
    -------
    Table
        ``map_step``, ``mp@10``, ... over all queries and per family, ``macro_map_step``, ... over
        families; ``n_queries`` is the divisor, ``ci_low`` and ``ci_high`` the 95 % interval. A family of one
        query has an interval without width.
    """
    frame = per_query.to_pandas() if isinstance(per_query, pa.Table) else per_query
    rows: list[dict[str, Any]] = []
    interval = partial(bootstrap_mean, n_resamples=n_resamples, seed=seed)
    for (protocol, method), group in frame.groupby(["protocol", "method"], sort=True):
        wide = group.pivot(index="query_id", columns="metric", values="value").sort_index()
        family = group.groupby("query_id")["family"].first().reindex(wide.index)
        kept = wide.notna().all(axis=1)
        known = family[kept].notna()
        if known.any() and not known.all():
            raise ValueError(f"query {known.index[~known][0]} has no family, but others have one")
        labels = family[kept] if known.any() else None
        found = summarise_method(wide[kept], labels, interval)
        rows += [{"protocol": protocol, "method": method, **row} for row in found]
    return pa.Table.from_pylist(rows, schema=SUMMARY)


def summarise_method(
    wide: "pd.DataFrame", family: "pd.Series | None", interval: Callable[..., Interval]
) -> Iterator[dict[str, Any]]:
    """Aggregate one method: ``wide`` holds a query per row, a figure per column, no NaN."""
    values = wide.to_numpy(np.float64)
    names = [name_mean(str(metric)) for metric in wide.columns]
    yield from name_rows(names, len(wide), interval(values))
    if family is None:
        return
    labels = family.to_numpy(str)
    macro = interval(values, families=labels)
    for row in name_rows(["macro_" + name for name in names], len(wide), macro):
        if row["metric"].removeprefix("macro_") not in ABOUT_LIST:
            yield row
    for label in np.unique(labels):
        member = labels == label
        for row in name_rows(names, int(member.sum()), interval(values[member])):
            yield row | {"family": str(label)}


def name_mean(metric: str) -> str:
    """Name of the mean of a figure of single queries: ``ap_step`` to ``map_step``, ``p@5`` to ``mp@5``."""
    return "m" + metric if metric.startswith(MEANS) else metric


def name_rows(names: list[str], n_queries: int, interval: Interval) -> Iterator[dict[str, Any]]:
    """Give one row per figure of an interval."""
    for name, value, low, high in zip(names, *interval, strict=True):
        yield {
            "metric": name,
            "value": float(value),
            "n_queries": n_queries,
            "ci_low": float(low),
            "ci_high": float(high),
        }
