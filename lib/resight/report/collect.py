"""From committed tables to the data of a report.

Counting happens in Arrow; only rows that the page shows become Python objects. A further section is one
more function in `COLLECTORS`.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.arrow import arrow_to_lists
from resight.reader import Reader
from resight.report.collect_chains import collect_chains
from resight.report.collect_groups import collect_groups
from resight.report.failures import Failure, Failures, Reason
from resight.report.metrics import Metric, Metrics
from resight.report.neighbours import Histogram, Neighbours, Strip
from resight.report.numbers import JobRun, Numbers
from resight.report.sections import Missing, ReportData, Section
from resight.report.source import Source, is_one_of, sample_ids
from resight.tables import DUPLICATE_GROUPS, GLOBAL_DESCRIPTORS, IMAGES, METRICS, NEIGHBORS

STRIP_LENGTH = 8  # neighbours shown of a photo
HISTOGRAM_SAMPLE = 20_000
N_REASONS, N_EXAMPLES = 5, 4
MAX_REASON = 300  # characters
BIN_WIDTHS = (0.005, 0.01, 0.02, 0.05)
PRESENT = pc.field("removed_at").is_null()


def collect_report(
    reader: Reader,
    *,
    n_groups: int = 50,
    n_neighbours: int = 12,
    seed: int = 0,
    title: str = "resight report",
) -> ReportData:
    """Read what a report shows: the ``n_groups`` largest groups, ``n_neighbours`` sampled photos.

    Photos are drawn by a hash of (id, ``seed``), so the same tables give the same page.
    """
    source = Source(reader, n_groups, n_neighbours, seed)
    sections = tuple(collect(source) for collect in COLLECTORS)
    shown = {image_id for section in sections for image_id in section.image_ids()}
    runs = source.last_runs()
    moment = f"State of {runs[-1].committed_at:%Y-%m-%d %H:%M} UTC" if runs else "No run is recorded"
    return ReportData(title, moment, sections, source.read_previews(shown))


def collect_numbers(source: Source) -> Numbers:
    """Count images, bytes, groups and copies; list the last run of every build."""
    there = source.read(IMAGES, ["status", "n_bytes"], filter=PRESENT)
    removed = source.read(IMAGES, ["image_id"], filter=~PRESENT)
    sizes = {}
    if source.reader.has(DUPLICATE_GROUPS):
        members = source.read(DUPLICATE_GROUPS, ["group_id"])
        copies = source.read(DUPLICATE_GROUPS, ["image_id"], filter=~pc.field("keep"))["image_id"]
        freed = source.read(IMAGES, ["n_bytes"], filter=is_one_of("image_id", copies.to_numpy()))
        sizes = {
            "n_groups": pc.count_distinct(members["group_id"]).as_py(),
            "n_copies": len(copies),
            "bytes_freed": pc.sum(freed["n_bytes"]).as_py() or 0,
        }
    return Numbers(
        statuses=count_values(there["status"]),
        n_bytes=pc.sum(there["n_bytes"]).as_py() or 0,
        n_removed=len(removed),
        sources=tuple(sorted(source.read_roots().values())),
        runs=tuple(describe_runs(source)),
        **sizes,
    )


def count_values(column: pa.ChunkedArray) -> tuple[tuple[str, int], ...]:
    """Count the values of a string column: ok first, then the most frequent."""
    counted = [(row["values"] or "unknown", row["counts"]) for row in pc.value_counts(column).to_pylist()]
    return tuple(sorted(counted, key=lambda pair: (pair[0] != "ok", -pair[1], pair[0])))


def describe_runs(source: Source) -> list[JobRun]:
    """Describe the last run of every build."""
    return [
        JobRun(
            job=run.job,
            name=run.name,
            build_id=run.build_id,
            seconds=run.seconds,
            committed_at=run.committed_at,
            rows={name: output.n_rows for name, output in run.outputs.items()},
            settings=run.settings,
        )
        for run in source.last_runs()
    ]


def collect_neighbours(source: Source) -> Section:
    """Take the nearest neighbours of sampled photos."""
    if not source.reader.has(NEIGHBORS):
        return Missing(
            "neighbours", "Nearest neighbours", "There is no graph yet: run `resight build-graph`."
        )
    ids = source.read(NEIGHBORS, ["src"])["src"].to_numpy()
    drawn = sample_ids(ids, source.n_neighbours, seed=source.seed).tolist()
    rows = source.look_up(NEIGHBORS, ["src", "dst", "similarity"], "src", drawn)
    offsets, dst = arrow_to_lists(rows["dst"], "<i8")
    _, similarity = arrow_to_lists(rows["similarity"], "<f4")
    lists = {}
    for src, start, stop in zip(rows["src"].to_pylist(), offsets[:-1], offsets[1:], strict=True):
        part = slice(start, min(stop, start + STRIP_LENGTH))
        lists[src] = list(zip(dst[part].tolist(), similarity[part].tolist(), strict=True))
    near = [image_id for pairs in lists.values() for image_id, _ in pairs]
    photos = source.read_photos([*drawn, *near])
    strips = tuple(Strip(photos[src], tuple((photos[i], s) for i, s in lists[src])) for src in drawn)
    return Neighbours(strips, n_photos=len(ids), threshold=source.threshold())


def collect_histogram(source: Source) -> Section:
    """Count how alike photos and their nearest neighbours are, over a sample of them."""
    ids = source.read(NEIGHBORS, ["src"])["src"].to_numpy()
    wanted = None
    if len(ids) > HISTOGRAM_SAMPLE:
        wanted = is_one_of("src", sample_ids(ids, HISTOGRAM_SAMPLE, seed=source.seed))
    rows = source.read(NEIGHBORS, ["similarity"], filter=wanted)
    offsets, similarity = arrow_to_lists(rows["similarity"], "<f4")
    nearest = similarity[offsets[:-1][np.diff(offsets) > 0]]
    nearest = nearest[np.isfinite(nearest)]
    edges = choose_edges(nearest)
    counts = np.histogram(np.clip(nearest, edges[0], edges[-1]), edges)[0]
    threshold = source.threshold()
    n_copies = 0 if threshold is None else int((nearest >= np.float32(threshold)).sum())
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        n_sampled=len(nearest),
        n_photos=len(ids),
        threshold=threshold,
        n_copies=n_copies,
    )


def choose_edges(similarity: np.ndarray) -> np.ndarray:
    """Choose at most some 50 bins of round width that end at 1 and hold ``similarity`` (n,).

    Returns
    -------
    edges : ndarray, (m + 1,) float64
    """
    lowest = float(similarity.min()) if len(similarity) else 1.0
    low = max(-1.0, min(0.8, np.floor(lowest * 5) / 5))
    width = next(w for w in BIN_WIDTHS if (1 - low) / w <= 50.5)
    n_bins = round((1 - low) / width)
    return low + width * np.arange(n_bins + 1)


def collect_failures(source: Source) -> Failures:
    """Count what did not end as ok: images, then descriptors of images that were."""
    columns = ["image_id", "status", "error"]
    failed = PRESENT & (pc.field("status") != "ok")
    images = source.read(IMAGES, columns, filter=failed)
    vectors = source.read(GLOBAL_DESCRIPTORS, columns, filter=pc.field("status") != "ok")
    is_new = pc.invert(pc.is_in(vectors["image_id"], value_set=images["image_id"].combine_chunks()))
    found = describe_failures(source, images, "decoding")
    return Failures((*found, *describe_failures(source, vectors.filter(is_new), "describing")))


def describe_failures(source: Source, rows: pa.Table, stage: str) -> list[Failure]:
    """Group failed rows by status, then by reason, the most frequent first.

    Reasons that differ in numbers only ("truncated, 37 bytes missing") count as one.
    """
    kinds = pc.replace_substring_regex(rows["error"], r"\d+", "#")
    rows = rows.append_column("kind", pc.fill_null(kinds, ""))
    failures = []
    for status, n_images in count_values(rows["status"]):
        same = rows.filter(pc.equal(rows["status"], status))
        counted = pa.Table.from_struct_array(pc.value_counts(same["kind"]))
        order = [("counts", "descending"), ("values", "ascending")]
        most = counted.take(pc.select_k_unstable(counted, N_REASONS, order)).to_pylist()
        reasons = (describe_reason(source, same, r["values"], r["counts"]) for r in most)
        failures.append(Failure(stage, status, n_images, tuple(reasons), len(counted)))
    return failures


def describe_reason(source: Source, rows: pa.Table, kind: str, n_images: int) -> Reason:
    """Give a reason in the words of its first image, with some of its images as examples."""
    alike = rows.filter(pc.equal(rows["kind"], kind))
    first = alike.take(pc.select_k_unstable(alike, N_EXAMPLES, [("image_id", "ascending")])).to_pylist()
    photos = source.read_photos(row["image_id"] for row in first)
    uris = tuple(photos[row["image_id"]].uri for row in first)
    return Reason(" ".join((first[0]["error"] or "").split())[:MAX_REASON], n_images, uris)


def collect_metrics(source: Source) -> Section:
    """Take the aggregates of every evaluation."""
    builds = [run for run in source.last_runs() if METRICS.name in run.outputs]
    if not builds:
        words = "Nothing was evaluated: `resight evaluate` measures a search against known answers."
        return Missing("quality", "Measured quality", words)
    columns = ["protocol", "method", "family", "metric", "value", "n_queries", "ci_low", "ci_high"]
    overall = pc.field("query_id").is_null()
    metrics = [
        Metric(build=run.name, **row)
        for run in builds
        for row in source.read(METRICS, columns, filter=overall, build=run.build_id).to_pylist()
    ]
    return Metrics(tuple(metrics))


COLLECTORS: tuple[Callable[[Source], Section], ...] = (
    collect_numbers,
    collect_groups,
    collect_neighbours,
    collect_chains,
    collect_histogram,
    collect_failures,
    collect_metrics,
)
