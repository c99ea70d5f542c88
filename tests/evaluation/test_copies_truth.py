"""Lists of matching images, as people write them."""

import pytest

from resight.config import SettingError
from resight.evaluation.copies.truth import read_pairs


def written(folder, text):
    (folder / "pairs.csv").write_text(text)
    return folder / "pairs.csv"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "relation,uri_a,uri_b\nexact,b.jpg,a.jpg\nnear,a.jpg,c.jpg\n",
            [("b.jpg", "a.jpg"), ("a.jpg", "c.jpg")],
        ),
        ("image_a,image_b\n3,1\n1,9\n", [(3, 1), (1, 9)]),
        ("uri,group,note\na,1,x\nb,1,\nc,,\n", [("a", "1"), ("b", "1")]),
        (
            "query_uri,image_uri,label\nq,a,easy\nq,b,hard\nq,c,junk\nq,q,positive\na,q,positive\n",
            [("a", "q"), ("b", "q")],
        ),
    ],
)
def test_the_header_says_what_the_file_holds(tmp_path, text, expected):
    table = read_pairs(written(tmp_path, text))
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left,right\na,b\n", r"columns are left, right; .* one of: uri_a, uri_b; image_a"),
        ("uri_a,uri_b\n", "holds no row"),
        ("uri_a,uri_b\na,b\nb,a\n", "line 3: b and a were paired in .*line 2"),
        ("uri_a,uri_b\na,a\n", "line 2: a is paired with itself"),
        ("uri_a,uri_b\na,\n", "line 2: uri_a and uri_b name two images"),
        ("image_a,image_b\n1,x\n", "line 2: image_a and image_b must be whole numbers"),
        ("uri,group\na,1\na,2\n", "line 3, column uri: 'a' is empty or listed twice"),
        ("query_uri,image_uri,label\nq,a,junk\n", "no query of the file has a positive"),
    ],
)
def test_faults_name_the_line(tmp_path, text, message):
    with pytest.raises(SettingError, match=message):
        read_pairs(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingError, match=r"cannot read .*absent\.csv"):
        read_pairs(tmp_path / "absent.csv")
