"""Files of remote stores: the same calls, and copies that every process of a machine shares."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pyarrow import fs

import resight
from resight import files
from resight.cli import main
from resight.knn.matrix import map_array, save_array
from tests.search.committed import commit_collection


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A remote store ``s3a://bucket`` whose files lie in the folder that is given."""
    (tmp_path / "bucket").mkdir()
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(files, "remote_path", lambda uri: (store, uri.removeprefix("s3a://")))
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "bucket"


@pytest.fixture
def downloads(monkeypatch):
    """Names of the remote files that were copied."""
    names, download = [], files.download

    def count(filesystem, name, target, n_bytes):
        names.append(name)
        time.sleep(0.05)  # so that others ask meanwhile
        download(filesystem, name, target, n_bytes)

    monkeypatch.setattr(files, "download", count)
    return names


@pytest.mark.parametrize("kind", ["fsspec+memory", "local", "file"])
def test_every_store_answers_alike(tmp_path, kind):
    roots = {"local": str(tmp_path), "file": tmp_path.as_uri(), "fsspec+memory": f"fsspec+memory:/{tmp_path}"}
    root = roots[kind]
    uri = files.join(root, "sub", "a.bin")
    assert not files.exists(uri)
    assert files.create_once(uri, b"one")
    assert not files.create_once(uri, b"two")
    assert files.read_bytes(uri) == b"one"
    files.write_bytes(uri, b"three")
    assert files.list_files(root) == {}
    assert files.list_files(root, recursive=True) == {"sub/a.bin": 5}
    assert files.file_sizes([uri, files.join(root, "b")]) == [5, -1]
    assert files.local_file(uri).read_bytes() == b"three"
    files.delete(files.join(root, "sub"))
    files.delete(uri)
    assert not files.exists(uri)
    with pytest.raises(FileNotFoundError):
        files.read_bytes(uri)


def test_a_remote_file_appears_when_it_is_whole(bucket):
    def break_off():
        yield b"half"
        raise RuntimeError("killed")

    uri = "s3a://bucket/a"
    with pytest.raises(RuntimeError, match="killed"):
        files.write_pieces(uri, break_off())
    assert not files.exists(uri)
    assert files.list_files("s3a://bucket") == {}
    assert files.create_once(uri, b"whole")
    with pytest.raises(RuntimeError, match="killed"):
        files.write_pieces(uri, break_off())
    assert files.read_bytes(uri) == b"whole"


@pytest.mark.parametrize("error", [NotImplementedError("no renaming"), OSError("it exists")])
def test_a_store_that_renames_in_its_own_way_has_the_file_in_the_end(tmp_path, error):
    class Store(fs.LocalFileSystem):
        def move(self, source, target):
            if (tmp_path / "a").exists() or isinstance(error, NotImplementedError):
                raise error
            super().move(source, target)

    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / ".a").write_bytes(b"new")
    files.rename(Store(), str(tmp_path / ".a"), str(tmp_path / "a"))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]
    with pytest.raises(OSError, match=r"\.gone"):
        files.rename(fs.LocalFileSystem(), str(tmp_path / ".gone"), str(tmp_path / "b"))


def test_many_tasks_of_a_machine_copy_a_remote_array_once(bucket, downloads):
    values = np.arange(1000.0)
    name = save_array(str(bucket), "values", values)
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(lambda _: map_array("s3a://bucket", name), range(8)))
    assert downloads == [f"bucket/{name}"]
    assert all(isinstance(array.base, np.memmap) for array in arrays)
    np.testing.assert_array_equal(arrays[7], values)


def test_a_lock_keeps_other_processes_out_until_its_owner_is_gone(tmp_path):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # holds the lock until it dies
        with files.hold_lock(tmp_path / "locks/x"):
            os.write(writing, b"!")
            time.sleep(0.3)
            (tmp_path / "last words").touch()
            os._exit(1)
    os.read(reading, 1)
    with files.hold_lock(tmp_path / "locks/x"):
        assert (tmp_path / "last words").exists()
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def test_a_file_that_changed_is_copied_again_and_old_copies_make_room(bucket, downloads):
    for name in ("a", "b"):
        (bucket / name).write_bytes(name.encode() * 60)
        os.utime(files.local_file(f"s3a://bucket/{name}"), (ord(name), ord(name)))
    (bucket / "b").write_bytes(b"c" * 60)
    os.utime(bucket / "b", (1, 1))
    copy = files.local_file("s3a://bucket/b", max_cache_bytes=150)
    assert copy.read_bytes() == b"c" * 60
    assert downloads == ["bucket/a", "bucket/b", "bucket/b"]
    contents = sorted(path.read_bytes()[:1] for path in copy.parent.iterdir() if path.is_file())
    assert contents == [b"b", b"c"], "the least recently used one left"


def test_a_copy_that_came_short_is_not_kept(bucket, tmp_path):
    (bucket / "a").write_bytes(b"a" * 60)
    with pytest.raises(OSError, match="got 60 of 61 bytes"):
        files.download(*files.remote_path("s3a://bucket/a"), tmp_path / "cache/a", 61)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_workspace_on_a_remote_store_is_searched_and_reported(bucket, downloads, rng):
    ids, X = rng.permutation(40).astype(np.int64), rng.normal(size=(40, 8)).astype(np.float32)
    commit_collection(bucket / "w", ids, X / np.linalg.norm(X, axis=1, keepdims=True))
    near, far = resight.open(str(bucket / "w")), resight.open("s3a://bucket/w")
    for method in ("global", "diffusion"):
        expected, found = (searcher.search(X[3], method=method, depth=9).results for searcher in (near, far))
        assert found.equals(expected)
    assert len(downloads) == len(set(downloads)) > 0
    assert main(["report", "--workspace", "s3a://bucket/w", "--lock", "none"]) == 0
    assert b"<!doctype html>" in (bucket / "w/report.html").read_bytes().lower()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "--workspace", "s3a://bucket/w"], "--lock: the store of s3a://bucket/w/leases"),
        (["run", "--source", "/", "--workspace", "ftp://h/w"], "ftp:// is no known store: give a path that"),
        (["ingest-images", "--source", "/", "--workspace", "wasbs://h/%20"], "wasbs:// is no known store"),
        (["report", "--workspace", "s3a://bucket/absent"], "s3a://bucket/absent is no workspace"),
    ],
)
def test_stores_that_cannot_be_used_are_named_before_spark_starts(
    bucket, words, message, caplog, monkeypatch, rng
):
    monkeypatch.setattr("resight.session.start_session", lambda settings: pytest.fail("Spark was started"))
    commit_collection(bucket / "w", np.arange(3), np.eye(3, dtype=np.float32))
    assert main(words) == 2
    assert message in caplog.text
