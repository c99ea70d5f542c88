import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.config import SettingError
from resight.images.sources import parse_source
from resight.images.version import version_of_source
from tests.pictures import save_collection


@pytest.fixture
def folder(tmp_path):
    return save_collection(tmp_path / "photos", ("china", "flower", "rocket"))


def write_manifest(path, uris):
    if path.suffix == ".csv":
        path.write_text("uri,author\n" + "".join(f"{uri},me\n" for uri in uris))
    else:
        pq.write_table(pa.table({"uri": uris}), path)
    return path


@pytest.mark.parametrize("kind", ["folder", "glob", "csv", "parquet"])
def test_version_changes_with_a_file_and_with_nothing_else(folder, kind):
    names = ["china.jpg", "flower.jpg", "gone.jpg"]
    place = {
        "folder": lambda: folder,
        "glob": lambda: folder / "*.jpg",
        "csv": lambda: write_manifest(folder / "list.csv", names),
        "parquet": lambda: write_manifest(folder / "list.parquet", names),
    }[kind]()
    source = parse_source(str(place))
    before = version_of_source(source)
    assert before
    assert version_of_source(source) == before
    os.utime(folder / "china.jpg", (1, 1))
    touched = version_of_source(source)
    assert touched != before
    (folder / "gone.jpg").write_bytes((folder / "china.jpg").read_bytes())
    assert version_of_source(source) not in (before, touched)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("upper.csv", "Author,URI\nme,0001\n"),
        ("bom.csv", '\ufeffuri,note\n0001,"two\nlines"\n'),
        ("upper.parquet", pa.table({"URI": ["0001"]})),
    ],
)
def test_version_follows_the_files_of_a_column_of_any_case_whose_uris_look_like_numbers(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text) if isinstance(text, str) else pq.write_table(text, path)
    (tmp_path / "0001").write_bytes(b"a photo")
    source = parse_source(str(path))
    before = version_of_source(source)
    assert version_of_source(source) == before
    os.utime(tmp_path / "0001", (1, 1))
    assert version_of_source(source) != before


def test_a_manifest_without_uris_is_named_before_anything_is_listed(tmp_path):
    (tmp_path / "m.csv").write_text("url\na.jpg\n")
    with pytest.raises(SettingError, match=r"--queries: .*m\.csv has no column uri, but url"):
        parse_source(str(tmp_path / "m.csv"), option="--queries")
    (tmp_path / "m.parquet").write_bytes(b"nothing")
    with pytest.raises(SettingError, match=r"--source: cannot read .*m\.parquet as Parquet"):
        parse_source(str(tmp_path / "m.parquet"))


def test_version_of_a_manifest_changes_with_its_rows_and_ignores_other_files(folder):
    path = write_manifest(folder / "list.csv", ["china.jpg", "../outside.jpg"])
    source = parse_source(str(path))
    before = version_of_source(source)
    os.utime(folder / "rocket.jpg", (1, 1))
    assert version_of_source(source) == before
    path.write_text(path.read_text() + "flower.jpg,you\n")
    assert version_of_source(source) != before
