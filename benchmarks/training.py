"""Steps of a training per second: ``resight.training`` against a bare torch loop over the same tuples.

Both train the last blocks of EfficientNet-Lite0 on the same photos, whose frozen maps lie in memory, with the
contrastive loss and Adam. The bare loop has no settings, no checks, no weights of tuples and no log: maps of
one shape are stacked, the loss is written out. Runs without Spark, on a CPU or a CUDA device::

    python benchmarks/training.py [--device cuda] [--longer-side 362] [--train-from all]
"""

import argparse
import tempfile
import time
from collections import defaultdict

import numpy as np
import torch
from extract import interval, make_photos
from torch.nn import functional as tf

from resight.training.network import load_network
from resight.training.photos import Photos
from resight.training.ranks import Ranks
from resight.training.settings import TrainSettings
from resight.training.step import Stepper

MARGIN = 0.75


class BareLoop:
    """A training step as one would write it for one experiment."""

    def __init__(self, network, maps):
        self.trained, self.maps, self.device = network.trained, maps, network.device
        self.p = network.trained.p
        weights = [p for n, p in network.trained.named_parameters() if n != "p" and p.requires_grad]
        exponent = {"params": [self.p], "lr": 1e-4, "weight_decay": 0.0}
        self.optimizer = torch.optim.Adam([{"params": weights}, exponent], lr=1e-5, weight_decay=5e-4)

    def describe(self, x):
        """GeM of the last maps."""
        half = self.trained.precision
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            x = self.trained.tail(x)
        x = x.float().clamp_min(1e-6) ** self.p
        return tf.normalize(x.mean((2, 3)) ** (1 / self.p))

    def step(self, slots):
        """Contrastive loss over the pairs of all tuples, one step of Adam."""
        shapes = defaultdict(list)
        for row in {int(row) for line in slots for row in line}:
            shapes[self.maps[row].shape].append(row)
        order = [row for rows in shapes.values() for row in rows]
        stacked = [
            torch.stack([self.maps[row] for row in rows])
            .to(self.device)
            .contiguous(memory_format=torch.channels_last)
            for rows in shapes.values()
        ]
        self.optimizer.zero_grad()
        V = torch.cat([self.describe(x) for x in stacked])
        place = {row: i for i, row in enumerate(order)}
        index = torch.tensor([[place[int(row)] for row in line] for line in slots], device=self.device)
        a, p, n = V[index[:, 0]], V[index[:, 1]], V[index[:, 2:]]
        distance = ((a[:, None] - n) ** 2).sum(2).sqrt()
        loss = 0.5 * ((a - p) ** 2).sum() + 0.5 * ((MARGIN - distance).clamp_min(0) ** 2).sum()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--n", type=int, default=200, help="photos")
    parser.add_argument("--longer-side", type=int, default=160)
    parser.add_argument("--train-from", default="block5")
    parser.add_argument("--steps", type=int, default=40, help="of a measurement")
    parser.add_argument("--pairs", type=int, default=7, help="measured pairs, interleaved")
    args = parser.parse_args()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    conf = TrainSettings(longer_side=args.longer_side, train_from=args.train_from, margin=MARGIN)
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = prepare(folder, args.n, conf, device)
    rng = np.random.default_rng(0)
    tuples = [
        np.stack([rng.choice(args.n, 2 + conf.n_negatives, replace=False) for _ in range(conf.batch_tuples)])
        for _ in range(args.steps)
    ]
    weights = np.ones(conf.batch_tuples)
    ways = {"bare": bare.step, "resight": lambda slots: ours.step(slots, weights)}
    losses = {name: [step(slots) for slots in tuples[:3]] for name, step in ways.items()}  # also warms up
    apart = max(abs(a / b - 1) for a, b in zip(*losses.values(), strict=True))
    costs = []
    for i in range(args.pairs):
        order = list(ways)[:: 1 if i % 2 else -1]
        costs.append({name: measure(ways[name], tuples, device) for name in order})
    wall, cpu = (np.array([[c[name][k] for name in ways] for c in costs]) for k in (0, 1))
    rates = args.steps / np.median(wall, axis=0)
    print(
        f"device {device.type}, {torch.get_num_threads()} threads, {conf.longer_side} px, {conf.train_from}"
    )
    print(f"largest difference of the first losses: {apart:.1e}")
    for name, rate in zip(ways, rates, strict=True):
        print(f"{name:<10} {rate:7.2f} steps/s of {conf.batch_tuples} tuples")
    print(f"throughput ratio  {interval(wall[:, 0] / wall[:, 1])} (wanted: 0.9 or more)")
    print(f"CPU seconds ratio {interval(cpu[:, 0] / cpu[:, 1])}")


def prepare(folder, n, conf, device):
    """Write photos, run them through the stem once, and give both loops the maps."""
    import hashlib
    from pathlib import Path

    import pyarrow as pa

    contents = make_photos(n)
    for i, content in enumerate(contents):
        Path(folder, f"{i}.jpg").write_bytes(content)
    columns = {"root": [folder] * n, "uri": [f"{i}.jpg" for i in range(n)]}
    columns |= {"byte_offset": pa.nulls(n, pa.int64()), "n_bytes": pa.nulls(n, pa.int64())}
    columns["content_hash"] = [hashlib.sha256(content).hexdigest() for content in contents]
    networks = [load_network(conf, device) for _ in range(2)]
    photos = Photos(pa.table(columns), networks[0], conf)
    photos.prepare(np.arange(n), conf.longer_side)
    maps = {row: x for (row, _), x in photos.held.items()}
    return Stepper(networks[0], photos, conf, Ranks(0, 1, device)), BareLoop(networks[1], maps)


def measure(step, tuples, device):
    """Take the steps: wall seconds, CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    for slots in tuples:
        step(slots)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
