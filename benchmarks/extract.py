"""Descriptors per second: ``extract_contents`` against a bare loop over the same photos.

Both read the same files from memory, on the same cores and device, decoding included. The bare loop has
no checks, no statuses, no settings: OpenCV decodes and scales, photos of one shape run in batches of the
size that is fastest here, R-MAC is written out. Runs without Spark, on a CPU or a CUDA device::

    python benchmarks/extract.py [--photos FOLDER] [--device cuda] [--processes 2]
"""

import argparse
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
FORMATS = {".jpg", ".jpeg", ".png"}


def package_photos():
    """Photos that come with scikit-image and scikit-learn."""
    import skimage
    import sklearn

    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets/images"]
    names = ["coffee.png", "chelsea.png", "astronaut.png", "rocket.jpg", "china.jpg", "flower.jpg"]
    return [folder / name for folder in folders for name in names if (folder / name).exists()]


def make_photos(n, seed=0):
    """Cut ``n`` JPEGs of 300 to 640 pixels in common shapes out of the packages' photos."""
    rng = np.random.default_rng(seed)
    sources = [cv2.imread(str(path)) for path in package_photos()]
    if not sources:
        raise SystemExit("no photos: name a folder with --photos or install scikit-image")
    contents = []
    for i in range(n):
        image = sources[i % len(sources)]
        aspect = rng.choice([4 / 3, 3 / 4, 3 / 2, 2 / 3, 1.0])
        width = min(image.shape[1], image.shape[0] * aspect) * rng.uniform(0.6, 1)
        w, h = int(width), int(width / aspect)
        x, y = rng.integers(image.shape[1] - w + 1), rng.integers(image.shape[0] - h + 1)
        scale = rng.uniform(300, 640) / max(w, h)
        cut = cv2.resize(image[y : y + h, x : x + w], None, fx=scale, fy=scale)
        contents.append(cv2.imencode(".jpg", cut, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return contents


def read_photos(folder, n):
    """Read the first ``n`` photos of a folder, or make them."""
    if folder is None:
        return make_photos(n)
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in FORMATS)
    return [path.read_bytes() for path in paths[:n]]


def load_small(content, side):
    """Decode and scale one photo the shortest way."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def bare_rmac(x):
    """R-MAC of maps (b, d, h, w), written out."""
    import torch.nn.functional as tf

    x = x.permute(0, 2, 3, 1).float()
    h, w = x.shape[1:3]
    total = 0
    for level in (1, 2, 3):
        side = -(-2 * min(h, w) // (level + 1))
        ny, nx = (1 + -(-5 * (length - side) // (3 * side)) for length in (h, w))
        for i in range(ny):
            y = i * (h - side) // max(ny - 1, 1)
            rows = x[:, y : y + side].amax(1)
            for j in range(nx):
                left = j * (w - side) // max(nx - 1, 1)
                total = total + tf.normalize(rows[:, left : left + side].amax(1))
    return tf.normalize(total)


def bare_loop(contents, settings, device):
    """Describe all photos, shape by shape."""
    import torch

    from resight.features.backbones import load_backbone

    backbone = load_backbone(settings, device)
    on_gpu = backbone.device.type == "cuda"
    limit = settings.batch_pixels or (1 << 23 if on_gpu else 1 << 18)
    workers = ThreadPoolExecutor(8) if on_gpu else None
    load = lambda content: load_small(content, settings.sizes[0])  # noqa: E731
    photos = workers.map(load, contents) if workers else map(load, contents)
    waiting, found, order = defaultdict(list), [], []

    def flush(group):
        x = torch.from_numpy(np.stack([pixels for _, pixels in group])).permute(0, 3, 1, 2)
        x = (x.to(backbone.device, backbone.dtype) - 127) / 128
        found.append(bare_rmac(backbone.network(x)))
        order.extend(i for i, _ in group)
        group.clear()

    with torch.inference_mode():
        for i, pixels in enumerate(photos):
            group = waiting[pixels.shape]
            group.append((i, pixels))
            if (len(group) + 1) * pixels.shape[0] * pixels.shape[1] > limit:
                flush(group)
        for group in waiting.values():
            if group:
                flush(group)
        vectors = torch.cat(found).cpu().numpy()
    return vectors[np.argsort(order)]


def resight_loop(contents, settings, device):
    """Describe all photos with the library."""
    from resight.features.extract import extract_contents

    n_threads = 8 if device.startswith("cuda") else 1
    return extract_contents(contents, settings, n_threads=n_threads, device=device).vectors


STATE = {}


def prepare(photos, n, options, part, parts):
    """Load a worker's photos and network, and warm both ways."""
    import torch

    from resight.features.settings import ExtractSettings

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = ExtractSettings(**options["settings"])
    STATE.update(contents=read_photos(photos, n)[part::parts])
    STATE.update(settings=settings, device=options["device"])
    a, b = (run(way)[2] for way in ("bare", "resight"))
    return float((a * b).sum(1).min()), len(STATE["contents"])


def run(way):
    """Run one way over the worker's photos: wall seconds, CPU seconds, vectors."""
    loop = {"bare": bare_loop, "resight": resight_loop}[way]
    wall, cpu = time.perf_counter(), time.process_time()
    vectors = loop(STATE["contents"], STATE["settings"], STATE["device"])
    return time.perf_counter() - wall, time.process_time() - cpu, vectors


def run_costs(way):
    """Run one way; only the costs travel back to the parent."""
    return run(way)[:2]


def measure(workers, way):
    """Run one way in all workers together: wall and CPU seconds."""
    start = time.perf_counter()
    costs = [future.result() for future in [worker.submit(run_costs, way) for worker in workers]]
    return time.perf_counter() - start, sum(cpu for _, cpu in costs)


def interval(values):
    """Median, and the second smallest and second largest (the extremes below 7 values)."""
    values = np.sort(values)
    cut = 1 if len(values) >= 7 else 0
    return f"{np.median(values):.3f} [{values[cut]:.3f}, {values[-1 - cut]:.3f}]"


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of photos; by default made from packages' photos")
    parser.add_argument("--n", type=int, default=0, help="photos (default 400, on CUDA 8,000)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--processes", type=int, default=1, help="one thread each, on CPU")
    parser.add_argument("--pairs", type=int, default=5, help="measured pairs, interleaved")
    parser.add_argument("--longer-side", type=int, default=256)
    parser.add_argument("--batch-pixels", type=int, default=0)
    return parser.parse_args()


def main():
    import torch

    args = parse_options()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    n = args.n or (8000 if device.startswith("cuda") else 400)
    settings = {"longer_side": args.longer_side, "batch_pixels": args.batch_pixels}
    options = {"settings": settings, "device": device}
    spawn = get_context("spawn")
    pairs = []
    with ExitStack() as stack:
        pools = [ProcessPoolExecutor(1, mp_context=spawn) for _ in range(args.processes)]
        workers = [stack.enter_context(pool) for pool in pools]
        parts = [(args.photos, n, options, i, args.processes) for i in range(args.processes)]
        ready = [w.submit(prepare, *part) for w, part in zip(workers, parts, strict=True)]
        agreed, counts = zip(*(future.result() for future in ready), strict=True)
        for i in range(args.pairs):
            order = ["bare", "resight"][:: 1 if i % 2 else -1]
            pairs.append({way: measure(workers, way) for way in order})
    wall, cpu = (np.array([[p[w][k] for w in ("bare", "resight")] for p in pairs]) for k in (0, 1))
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    precision = "float16" if device.startswith("cuda") else "float32"
    rates = sum(counts) / np.median(wall, axis=0)
    print(f"device {name}, {precision}, {args.processes} process(es), {sum(counts)} photos")
    print(f"smallest cosine between both: {min(agreed):.6f}")
    print(f"bare loop         {rates[0]:8.1f} images/s")
    print(f"extract_contents  {rates[1]:8.1f} images/s")
    print(f"throughput ratio  {interval(wall[:, 0] / wall[:, 1])} (wanted: 0.9 or more)")
    print(f"CPU seconds ratio {interval(cpu[:, 0] / cpu[:, 1])}")


if __name__ == "__main__":
    main()
