"""The ground truth file."""

import pyarrow as pa
import pytest

from resight.config import SettingError
from resight.evaluation.ground_truth import (
    GROUND_TRUTH,
    from_instances,
    read_ground_truth,
    write_ground_truth,
)

HEAD = "query_uri,image_uri,label,family\n"


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="truth.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write_text


def test_a_file_is_read_with_and_without_families(write):
    table = read_ground_truth(write(HEAD + "q.jpg,a.jpg,easy,x\nq.jpg,b.jpg,junk,x\n\n"))
    assert table.schema == GROUND_TRUTH
    assert table["label"].to_pylist() == ["easy", "junk"]
    table = read_ground_truth(write("label,image_uri,query_uri\npositive,a.jpg,q.jpg\n"))
    assert table.to_pylist() == [
        {"query_uri": "q.jpg", "image_uri": "a.jpg", "label": "positive", "family": None}
    ]


@pytest.mark.parametrize("name", ["truth.csv", "truth.parquet"])
def test_what_is_written_is_read_back(tmp_path, name):
    rows = [('q "1", é.jpg', "a.jpg", "hard", "x"), ("q2", "b\nc", "positive", "y")]
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = pa.table(columns, schema=GROUND_TRUTH)
    write_ground_truth(table, tmp_path / name)
    assert read_ground_truth(tmp_path / name) == table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query_uri,label\n", r"line 1: column 'image_uri' is missing, found query_uri, label"),
        ("", r"line 1: column 'query_uri' is missing"),
        (HEAD, "holds no labelled image"),
        (HEAD.replace("family", "famly"), r"line 1: unknown column 'famly', allowed are query_uri"),
        (HEAD.replace("family", "label"), r"line 1: column 'label' appears twice"),
        (HEAD + "q,a,good,x\n", r"line 2, column label: unknown label 'good', allowed are positive"),
        (HEAD + "q,,easy,x\n", r"line 2, column image_uri: empty"),
        (HEAD + "q,a,easy\n", r"line 2: 3 values for 4 columns"),
        (HEAD + "q,a,easy,x\nq,a,hard,x\n", r"line 3: a was labelled for q in .*line 2"),
        (HEAD + "q,a,easy,x\nq,b,easy,y\n", r"line 3, column family: q has the families 'x' and 'y'"),
        (HEAD + "q,a,easy,x\np,b,easy,\n", r"line 3, column family: give it for all"),
        (HEAD + 'q,"a,easy,x\n', "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
    ],
)
def test_faults_name_the_line_and_the_column(write, text, message):
    with pytest.raises(SettingError, match=message):
        read_ground_truth(write(text))


def test_a_missing_or_foreign_file_is_named(tmp_path, write):
    with pytest.raises(SettingError, match=r"cannot read .*absent\.csv"):
        read_ground_truth(tmp_path / "absent.csv")
    with pytest.raises(SettingError, match=r"cannot read .*no\.parquet"):
        read_ground_truth(write("text", "no.parquet"))


INSTANCES = """image,instance,source,role
a1,car_1,s,query
a2,car_1,s,database
a3,car_1,s,database
a4,car_1,s,query
b1,dvd_1,s,query
b2,dvd_1,s,database
d1,,s,distractor
"""


def rows_of(table):
    return {tuple(row.values()) for row in table.to_pylist()}


def test_instances_become_queries_against_the_database(write):
    table = from_instances(write(INSTANCES))
    expected = {(q, i, "positive", "car") for q in ("a1", "a4") for i in ("a2", "a3")}
    assert rows_of(table) == expected | {("b1", "b2", "positive", "dvd")}


def test_queries_within_the_collection_are_junk_for_every_query(write):
    table = from_instances(write(INSTANCES), queries_in_collection=True)
    junk = {(q, i) for q, i, label, _ in rows_of(table) if label == "junk"}
    asked = ("a1", "a4", "b1")
    assert junk == {(q, i) for q in asked for i in asked}


def test_leave_one_out_asks_with_every_photo_and_ignores_itself(write):
    table = from_instances(write(INSTANCES), protocol="leave_one_out", skip_families=["dvd"])
    photos = ["a1", "a2", "a3", "a4"]
    assert rows_of(table) == {(q, i, "junk" if q == i else "positive", "car") for q in photos for i in photos}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,car_2,s,test", "column role: unknown role 'test'"),
        ("x,,s,query", "column instance: empty for distractors, and only for them"),
        ("x,car_2,s,distractor", "column instance"),
        ("a1,car_2,s,query", "column image: 'a1' is empty or listed twice"),
    ],
)
def test_faults_in_an_instance_list_name_the_line(write, line, message):
    with pytest.raises(SettingError, match=f"line 9, {message}"):
        from_instances(write(INSTANCES + line + "\n"))
