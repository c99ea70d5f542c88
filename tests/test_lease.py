import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from resight import files
from resight.config import SettingError
from resight.lease import EXPIRY, LeaseError, hold_lease, keep_alive, place, process_start


def owner(**changes):
    mine = place() | {"pid": os.getpid(), "started": process_start(os.getpid())}
    return json.dumps(mine | {"token": "other", "seen": time.time()} | changes).encode()


def test_a_second_holder_is_told_who_holds(tmp_path):
    uri = str(tmp_path / "lease.json")
    with hold_lease(uri), pytest.raises(LeaseError, match=f"process {os.getpid()}"), hold_lease(uri):
        pass
    assert not files.exists(uri)


def test_the_lease_of_a_dead_process_is_taken_over(tmp_path):
    uri = str(tmp_path / "lease.json")
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    files.write_bytes(uri, owner(pid=int(child.stdout), started="1"))
    with hold_lease(uri):
        assert json.loads(files.read_bytes(uri))["pid"] == os.getpid()


def test_a_lease_of_another_machine_lasts_until_its_heartbeat_stops(tmp_path):
    uri = str(tmp_path / "lease.json")
    files.write_bytes(uri, owner(host="elsewhere"))
    with pytest.raises(LeaseError, match="elsewhere"), hold_lease(uri):
        pass
    files.write_bytes(uri, owner(host="elsewhere", seen=time.time() - EXPIRY - 1))
    with hold_lease(uri):
        assert json.loads(files.read_bytes(uri))["host"] == socket.gethostname()


@pytest.mark.parametrize(
    "elsewhere", [{"pid_namespace": "pid:[1]"}, {"boot": "another"}, {"boot": None, "pid_namespace": None}]
)
def test_a_lease_of_a_container_of_this_host_is_judged_by_its_heartbeat_only(tmp_path, elsewhere):
    uri = str(tmp_path / "lease.json")
    files.write_bytes(uri, owner(**elsewhere, pid=2**22 + 1, started="1"))
    with pytest.raises(LeaseError), hold_lease(uri):
        pass
    files.write_bytes(uri, owner(**elsewhere, seen=time.time() - EXPIRY - 1))
    with hold_lease(uri):
        assert json.loads(files.read_bytes(uri))["token"] != "other"


def test_a_lease_that_does_not_say_where_it_is_from_is_judged_by_its_heartbeat(tmp_path):
    uri = str(tmp_path / "lease.json")
    old = json.loads(owner(pid=2**22 + 1, started="1"))
    files.write_bytes(uri, json.dumps({k: v for k, v in old.items() if k != "pid_namespace"}).encode())
    with pytest.raises(LeaseError, match=f"process {2**22 + 1}"), hold_lease(uri):
        pass


def test_a_store_without_exclusive_create_says_which_setting_is_needed():
    with pytest.raises(SettingError, match="--lock none"), hold_lease("s3a://bucket/lease.json"):
        pass
    with hold_lease("s3a://bucket/lease.json", lock="none"):
        pass


def test_a_store_that_fails_once_does_not_end_the_heartbeat(monkeypatch, tmp_path):
    stop, beats, lease = threading.Event(), [], tmp_path / "lease.json"
    lease.write_text('{"token": "mine"}')

    def write(uri, data):
        beats.append(uri)
        if len(beats) == 1:
            raise OSError("a hiccup")
        stop.set()

    monkeypatch.setattr("resight.lease.HEARTBEAT", 0.001)
    monkeypatch.setattr(files, "write_bytes", write)
    keep_alive(str(lease), {"token": "mine"}, stop)
    assert len(beats) == 2


def test_a_heartbeat_ends_where_somebody_took_over(monkeypatch, tmp_path):
    lease = tmp_path / "lease.json"
    lease.write_text('{"token": "theirs"}')
    monkeypatch.setattr("resight.lease.HEARTBEAT", 0.001)
    keep_alive(str(lease), {"token": "mine"}, threading.Event())
    assert lease.read_text() == '{"token": "theirs"}'
