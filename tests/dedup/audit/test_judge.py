"""Verdicts go out empty, come back as counts, and become an estimate."""

import csv
import math

import pyarrow as pa
import pytest

from resight.config import SettingError
from resight.dedup.audit.estimate import estimate_share
from resight.dedup.audit.judge import LISTED, estimate_judged, read_judgements, write_judgements

ROWS = [
    (2**62, 2**62 + 5, "near", 0.97, "/photos/=a.jpg", "/photos/b, c.jpg"),
    (7, 8, "crop", float("nan"), "=1+1.jpg", "d.jpg"),
]


def write(file):
    batch = pa.RecordBatch.from_pylist([dict(zip(LISTED, row, strict=True)) for row in ROWS])
    return write_judgements([batch], file)


def judge(file, verdicts):
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with file.open("w", newline="") as stream:
        out = csv.DictWriter(stream, rows[0])
        out.writeheader()
        out.writerows(row | {"verdict": verdict} for row, verdict in zip(rows, verdicts, strict=True))


def test_a_list_comes_back_with_its_verdicts(tmp_path):
    file = tmp_path / "judgements.csv"
    assert write(file) == 2
    assert len(read_judgements(file)) == 0
    judge(file, [" Copy ", "no"])
    assert (
        read_judgements(file).to_pylist()
        == [
            {"image_a": 7, "image_b": 8, "right": False},
            {"image_a": 2**62, "image_b": 2**62 + 5, "right": True},
        ][::-1]
    )
    judge(file, ["unsure", "1"])
    assert read_judgements(file)["right"].to_pylist() == [True]


def test_verdicts_are_never_overwritten(tmp_path):
    write(tmp_path / "judgements.csv")
    with pytest.raises(SettingError, match="is there already, maybe with verdicts"):
        write(tmp_path / "judgements.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_a,image_b\n1,2\n", "column 'verdict' is missing"),
        ("image_a,image_b,verdict\n1,2,maybe\n", "line 2: verdict 'maybe'"),
        ("image_a,image_b,verdict\n1.5E+9,2,yes\n", "line 2: image_a and image_b must be whole"),
        ("image_a,image_b,verdict\n1,2,yes\n2,1,no\n", "line 3: the pair 1, 2 is judged twice"),
    ],
)
def test_faults_name_the_line(tmp_path, text, message):
    (tmp_path / "j.csv").write_text(text)
    with pytest.raises(SettingError, match=message):
        read_judgements(tmp_path / "j.csv")


def test_the_estimate_weighs_relations_by_their_pairs():
    estimates = estimate_judged({"near": (10, 10), "crop": (10, 5)}, {"near": 900, "crop": 100})
    assert estimates["near"] == (10, 10, estimate_share(10, 10))
    n, right, whole = estimates["all"]
    assert (n, right) == (20, 15)
    assert whole.value == pytest.approx(0.95)
    assert 0 < whole.low < 0.95 < whole.high <= 1
    lacking = estimate_judged({"near": (10, 10)}, {"near": 900, "crop": 100})["all"]
    assert math.isnan(lacking[2].value)
