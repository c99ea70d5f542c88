import json
import os
import socket
import subprocess
import sys
import time

import pytest

from resight import files
from resight.config import SettingError
from resight.lease import EXPIRY, LeaseError, hold_lease, process_start


def owner(**changes):
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}
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


def test_a_store_without_exclusive_create_says_which_setting_is_needed():
    with pytest.raises(SettingError, match="--lock none"), hold_lease("s3a://bucket/lease.json"):
        pass
    with hold_lease("s3a://bucket/lease.json", lock="none"):
        pass
