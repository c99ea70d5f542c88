"""Trainings of a tiny network: they learn, repeat, go on after a kill, and several processes are one."""

import os
import signal
import subprocess
import sys

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import torch

from resight.features.networks import read_trained
from resight.features.whitening import Whitening
from resight.training.checkpoint import load_checkpoint
from resight.training.embed import describe_rows
from resight.training.network import load_network
from resight.training.photos import Photos
from resight.training.ranks import Ranks, require_launcher
from resight.training.settings import LAUNCHER
from resight.training.step import Stepper
from resight.training.worker import run_training, write_plan
from tests.training.planted import examples, save_views, save_weights, settings

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    return save_weights(folder), save_views(folder)


def train(folder, given, *, processes=1, photos=None, **changes):
    conf = settings(given[0], **changes)
    write_plan(str(folder), conf, examples(), given[1] if photos is None else photos)
    return run_training(str(folder), processes=processes, device="cpu")


@pytest.fixture(scope="module")
def trained(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(folder, given, whitening_dims=8, epochs=3)


def weights_of(folder):
    return read_trained(folder / "network.safetensors")[0].state_dict()


def test_a_training_lowers_its_loss_and_ranks_unseen_objects_better(trained):
    _, outcome = trained
    epochs = {row["epoch"] for row in outcome.log}
    losses = [np.mean([r["loss"] for r in outcome.log if r["epoch"] == e]) for e in sorted(epochs - {0})]
    maps = {row["epoch"]: row["map"] for row in outcome.log if row["map"] is not None}
    assert losses[-1] < losses[0]
    assert maps.keys() == epochs == {0, 1, 2, 3}
    assert maps[outcome.epoch] == max(maps[e] for e in (1, 2, 3)) > maps[0]
    assert outcome.p != 3.0


def test_the_network_kept_is_that_of_the_best_epoch_and_its_whitening_fits(trained, given):
    folder, outcome = trained
    facts = read_trained(folder / "network.safetensors")[2]
    assert facts["p"] == pytest.approx(outcome.p)
    assert facts["pooling"] == "gem"
    whitening = Whitening.from_bytes((folder / "whitening.npz").read_bytes())
    assert whitening.projection.shape[1] == 8
    progress = load_checkpoint(str(folder), {name: Loose() for name in ("trained", "optimizer", "scaler")})
    assert progress.best_epoch == outcome.epoch
    assert torch.equal(weights_of(folder)["conv_head.weight"], progress.best["tail.2.weight"])


class Loose:
    """Takes any state."""

    def load_state_dict(self, state):
        self.state = state


def test_a_training_repeated_is_the_same_bytes(trained, given, tmp_path):
    folder, outcome = trained
    again = train(tmp_path, given, whitening_dims=8, epochs=3)
    assert again.log == outcome.log
    for name in ("network.safetensors", "whitening.npz"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_killed_training_goes_on_with_the_same_losses(trained, given, tmp_path):
    folder, outcome = trained
    conf = msgspec.structs.replace(settings(given[0], whitening_dims=8, epochs=3), checkpoint_steps=1)
    write_plan(str(tmp_path), conf, examples(), given[1])
    program = (
        "import os, signal, sys\n"
        "from resight.training import train, worker\n"
        "save, count = train.save_checkpoint, []\n"
        "def killing(*args):\n"
        "    save(*args)\n"
        "    count.append(1)\n"
        "    len(count) == 6 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "train.save_checkpoint = killing\n"
        "worker.train_here(sys.argv[1], 'cpu')\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "outcome.json").exists()
    resumed = run_training(str(tmp_path), device="cpu")
    assert resumed.log == outcome.log
    assert (tmp_path / "network.safetensors").read_bytes() == (folder / "network.safetensors").read_bytes()


def test_two_processes_take_the_steps_of_one(given, tmp_path):
    """One step of plain gradient descent: the weights moved by the gradient, times the rate."""
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.01, "epochs": 1}
    plain |= {"batch_tuples": 100, "keep": "last", "tuples_per_pass": 3}
    logs = [train(tmp_path / str(n), given, processes=n, **plain).log for n in (1, 2)]
    assert logs[0][1]["loss"] == pytest.approx(logs[1][1]["loss"], rel=1e-5)
    assert logs[0][0] == logs[1][0]
    one, two = (weights_of(tmp_path / str(n)) for n in (1, 2))
    before = load_network(settings(given[0]), torch.device("cpu")).body.state_dict()
    moved = max(float((one[name] - before[name]).abs().max()) for name in one)
    assert moved > 1e-5
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-4 * moved)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_gradients_do_not_depend_on_the_size_of_a_pass(given, size):
    gradients = []
    for passes in (5, size):
        conf = settings(given[0], tuples_per_pass=passes)
        network = load_network(conf, ALONE.device)
        stepper = Stepper(network, Photos(given[1], network, conf), conf, ALONE)
        slots = np.array([[0, 1, 4, 8], [4, 5, 0, -1], [9, 10, 1, 2]])
        stepper.step(slots, np.array([1.0, 0.5, 2.0]))
        gradients.append([p.grad for p in network.trained.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_what_is_held_in_memory_changes_nothing(given):
    found = []
    for room in (0.0, 1.0):
        conf = settings(given[0], cache_gb=room)
        network = load_network(conf, ALONE.device)
        photos = Photos(given[1], network, conf)
        photos.prepare(np.arange(24), 48)
        assert bool(photos.held) == (room > 0)
        rows = np.array([5, 3, 17])
        found.append(describe_rows(rows, (48, 32), photos=photos, network=network, ranks=ALONE))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, rtol=1e-6)


def test_a_photo_that_cannot_be_read_takes_no_part(given, tmp_path):
    uris = given[1]["uri"].to_pylist()
    uris[0] = "absent.png"
    photos = given[1].set_column(1, "uri", pa.array(uris))
    outcome = train(tmp_path, given, photos=photos, epochs=1, keep="last")
    assert outcome.failures == 1
    assert outcome.n_anchors == 11  # of 4 objects with 3 anchors each
    assert all(np.isfinite(row["loss"]) for row in outcome.log if row["loss"] is not None)


def test_a_process_whose_launcher_is_gone_ends_before_it_writes(monkeypatch):
    require_launcher()  # there is none: nothing to ask
    monkeypatch.setenv(LAUNCHER, str(os.getpid()))
    require_launcher()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setenv(LAUNCHER, str(gone.pid))
    with pytest.raises(SystemExit, match="is gone"):
        require_launcher()
