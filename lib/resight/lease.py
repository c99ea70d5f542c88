"""One run per build at a time: a lease file with owner and heartbeat.

A lease is taken over when its owner is a dead process that can be looked up from here (same host, boot and
process namespace), or when its heartbeat stopped.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from resight import files
from resight.config import SettingError

HEARTBEAT = 10.0  # seconds between two signs of life
EXPIRY = 90.0  # seconds without one after which another run may take over


class LeaseError(RuntimeError):
    """Another run holds the build."""


@contextmanager
def hold_lease(uri: str, *, lock: str = "file") -> Iterator[None]:
    """Hold the lease file ``uri`` for the block; `LeaseError` names the owner when another run has it.

    ``lock="none"`` trusts the caller that no second run exists: needed on stores where a file cannot be
    created exclusively.
    """
    if lock == "none":
        yield
        return
    if not files.has_exclusive_create(uri):
        raise SettingError(
            f"--lock: the store of {uri} has no create-if-absent; let your scheduler run one job per "
            "workspace at a time and say --lock none"
        )
    owner = place() | {"pid": os.getpid(), "started": process_start(os.getpid()), "token": uuid.uuid4().hex}
    acquire(uri, owner)
    stop = threading.Event()
    beat = threading.Thread(target=keep_alive, args=(uri, owner, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with suppress(OSError, ValueError):
            if json.loads(files.read_bytes(uri))["token"] == owner["token"]:
                files.delete(uri)


def acquire(uri: str, owner: dict) -> None:
    """Create the lease file, taking over one whose owner is gone."""
    for _ in range(3):
        if files.create_once(uri, encode(owner)):
            return
        try:
            other = json.loads(files.read_bytes(uri))
        except FileNotFoundError:
            continue
        if is_alive(other):
            held = f"{other['host']} process {other['pid']}"
            raise LeaseError(f"this build is being computed by {held}; wait for it, or stop it ({uri})")
        grave = files.local_path(f"{uri}.{uuid.uuid4().hex}")
        path = files.local_path(uri)
        if path is not None and grave is not None:
            with suppress(FileNotFoundError):
                path.rename(grave)  # one of several takers wins
                if json.loads(grave.read_bytes())["token"] != other["token"]:
                    files.create_once(uri, grave.read_bytes())  # a faster taker's lease: give it back
                grave.unlink()
    raise LeaseError(f"several runs try to take over the lease {uri}: run again")


def encode(owner: dict) -> bytes:
    """Write the lease with the present time."""
    return json.dumps(owner | {"seen": time.time()}).encode()


def keep_alive(uri: str, owner: dict, stop: threading.Event) -> None:
    """Refresh the heartbeat until told to stop; a store that hiccups must not end it, a new owner does."""
    while not stop.wait(HEARTBEAT):
        with suppress(OSError, ValueError):
            if json.loads(files.read_bytes(uri))["token"] != owner["token"]:
                return  # this machine slept, and somebody took over
            files.write_bytes(uri, encode(owner))


def place() -> dict[str, str | None]:
    """Tell where process ids mean what they mean here; None where the system does not say."""
    boot, namespace = None, None
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return {"host": socket.gethostname(), "boot": boot, "pid_namespace": namespace}


def is_alive(owner: dict) -> bool:
    """Whether the owner of a lease still runs, as far as can be known from here."""
    if all(key in owner and owner[key] == value for key, value in place().items()):
        return process_start(owner["pid"]) == owner["started"] and owner["started"] is not None
    return time.time() - owner["seen"] < EXPIRY


def process_start(pid: int) -> str | None:
    """Give what tells one process with this id from a later one; None when there is none."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        fields = stat.read_text().rsplit(")", 1)[1].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        if stat.parent.parent.joinpath("self").exists():
            return None
    try:  # systems without /proc
        os.kill(pid, 0)
    except OSError:
        return None
    return "running"
