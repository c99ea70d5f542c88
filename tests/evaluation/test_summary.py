"""Figures over queries."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from resight.evaluation.summary import SUMMARY, summarise

VALUES = {1: ("a", 1.0), 2: ("a", 0.0), 3: ("b", 1.0), 4: ("b", np.nan), 5: (None, np.nan)}


def per_query(metric="ap_step", method="global", values=VALUES):
    rows = [
        {"protocol": "old", "method": method, "query_id": q, "family": f, "metric": metric, "value": v}
        for q, (f, v) in values.items()
    ]
    return pd.DataFrame(rows)


def pick(table, **where):
    frame = table.to_pandas()
    for column, value in where.items():
        frame = frame[frame[column].isna() if value is None else frame[column] == value]
    return frame


def test_means_over_queries_families_and_macro_use_their_own_divisors():
    table = summarise(per_query())
    everything = pick(table, metric="map_step", family=None).iloc[0]
    assert everything["value"] == pytest.approx(2 / 3)
    assert everything["n_queries"] == 3
    assert pick(table, metric="macro_map_step")["value"].tolist() == [0.75]
    assert pick(table, metric="map_step", family="a")["value"].tolist() == [0.5]
    assert pick(table, metric="map_step", family="b")["n_queries"].tolist() == [1]


def test_rows_have_the_columns_of_the_metrics_table_and_intervals_around_the_value():
    table = summarise(pa.Table.from_pandas(per_query()))
    assert table.schema == SUMMARY
    frame = table.to_pandas()
    assert (frame["ci_low"] <= frame["value"]).all()
    assert (frame["ci_high"] >= frame["value"]).all()
    assert frame["query_id"].isna().all()


def test_methods_and_metrics_are_kept_apart_and_the_order_of_rows_does_not_matter(rng):
    other = {q: (f, v / 2) for q, (f, v) in VALUES.items()}
    frame = pd.concat([per_query("p@5"), per_query("depth"), per_query("p@5", "asmk", other)])
    table = summarise(frame)
    assert table == summarise(frame.sample(frac=1, random_state=1))
    assert pick(table, metric="mp@5", method="asmk", family=None)["value"].tolist() == [pytest.approx(1 / 3)]
    assert not len(pick(table, metric="macro_depth"))


def test_a_protocol_without_counted_queries_has_no_value():
    table = summarise(per_query(values={1: ("a", np.nan), 2: ("a", np.nan)}))
    assert pick(table, metric="map_step")["n_queries"].tolist() == [0]
    assert pick(table, metric="map_step")["value"].isna().all()


def test_queries_without_family_among_others_are_refused():
    with pytest.raises(ValueError, match="query 2 has no family"):
        summarise(per_query(values={1: ("a", 1.0), 2: (None, 0.5)}))
