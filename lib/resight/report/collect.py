"""From committed tables to the data of a report.

Counting happens in Arrow, batch by batch; only rows that the page shows become Python objects. A further
section is one more function in `COLLECTORS`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resight.arrow import arrow_to_lists
from resight.reader import Reader
from resight.report.collect_audit import collect_audit
from resight.report.collect_chains import collect_chains
from resight.report.collect_groups import collect_groups
from resight.report.failures import Failure, Failures, Reason
from resight.report.learning.collect import collect_mined, collect_objects, collect_training
from resight.report.metrics import Metric, Metrics
from resight.report.neighbours import Histogram, Neighbours, Strip
from resight.report.numbers import JobRun, Numbers
from resight.report.sections import Missing, ReportData, Section
from resight.report.source import Source, is_one_of, keep_first
from resight.tables import DUPLICATE_GROUPS, GLOBAL_DESCRIPTORS, IMAGES, METRICS, NEIGHBORS

STRIP_LENGTH = 8  # neighbours shown of a photo
HISTOGRAM_SAMPLE = 20_000
N_REASONS, N_EXAMPLES = 5, 4
MAX_KINDS = 10_000  # different reasons of one status
MAX_REASON = 300  # characters
BIN_WIDTHS = (0.005, 0.01, 0.02, 0.05)
PRESENT = pc.field("removed_at").is_null()
FAILED = ["image_id", "status", "error"]
Batches = Iterator[pa.RecordBatch]


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
    statuses, n_bytes = Counter[str](), 0
    for batch in source.batches(IMAGES, ["status", "n_bytes"], filter=PRESENT):
        statuses.update(dict(count_values(batch["status"])))
        n_bytes += pc.sum(batch["n_bytes"]).as_py() or 0
    sizes: dict[str, Any] = {}
    if source.reader.has(DUPLICATE_GROUPS):
        n_groups = source.count(DUPLICATE_GROUPS, filter=pc.field("keep"))  # one of each
        n_copies = source.count(DUPLICATE_GROUPS, filter=~pc.field("keep"))
        sizes = {"n_groups": n_groups, "n_copies": n_copies, "bytes_freed": sum_copies(source, n_copies)}
    return Numbers(
        statuses=order_counts(statuses),
        n_bytes=n_bytes,
        n_removed=source.count(IMAGES, filter=~PRESENT),
        sources=tuple(sorted(source.read_roots().values())),
        runs=tuple(describe_runs(source)),
        **sizes,
    )


def sum_copies(source: Source, n_copies: int) -> int:
    """Add up the bytes of the members of groups that are not kept."""
    total = 0
    for part in source.id_parts(DUPLICATE_GROUPS, "image_id", n_copies, filter=~pc.field("keep")):
        for batch in source.batches(IMAGES, ["image_id", "n_bytes"]):
            is_copy = pa.array(part.contains(batch["image_id"].to_numpy()))
            total += pc.sum(batch["n_bytes"].filter(is_copy)).as_py() or 0
    return total


def count_values(column: pa.Array) -> list[tuple[str, int]]:
    """Count the values of a string column."""
    return [(row["values"] or "unknown", row["counts"]) for row in pc.value_counts(column).to_pylist()]


def order_counts(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Order counted values: ok first, then the most frequent."""
    return tuple(sorted(counts.items(), key=lambda pair: (pair[0] != "ok", -pair[1], pair[0])))


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
    some, n_photos = source.draw(NEIGHBORS, "src", source.n_neighbours)
    drawn = some.tolist()
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
    return Neighbours(strips, n_photos=n_photos, threshold=source.threshold())


def collect_histogram(source: Source) -> Section:
    """Count how alike photos and their nearest neighbours are, over a sample of them."""
    drawn, n_photos = source.draw(NEIGHBORS, "src", HISTOGRAM_SAMPLE)
    firsts = [np.zeros(0, np.float32)]
    for batch in source.batches(NEIGHBORS, ["similarity"], filter=is_one_of("src", drawn)):
        offsets, similarity = arrow_to_lists(batch["similarity"], "<f4")
        firsts.append(similarity[offsets[:-1][np.diff(offsets) > 0]])
    nearest = np.concatenate(firsts)
    nearest = nearest[np.isfinite(nearest)]
    edges = choose_edges(nearest)
    counts = np.histogram(np.clip(nearest, edges[0], edges[-1]), edges)[0]
    threshold = source.threshold()
    n_copies = 0 if threshold is None else int((nearest >= np.float32(threshold)).sum())
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        n_sampled=len(nearest),
        n_photos=n_photos,
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
    failed = PRESENT & (pc.field("status") != "ok")

    def list_images() -> Batches:
        yield from source.batches(IMAGES, FAILED, filter=failed)

    def list_vectors() -> Batches:
        for part in source.id_parts(IMAGES, "image_id", n_images, filter=failed):
            for batch in source.batches(GLOBAL_DESCRIPTORS, FAILED, filter=pc.field("status") != "ok"):
                ids = batch["image_id"].to_numpy()
                yield batch.filter(pa.array(part.holds(ids) & ~part.contains(ids)))

    found = describe_failures(source, list_images, "decoding")
    n_images = sum(failure.n_images for failure in found)
    return Failures((*found, *describe_failures(source, list_vectors, "describing")))


def describe_failures(source: Source, list_rows: Callable[[], Batches], stage: str) -> list[Failure]:
    """Group failed rows by status, then by reason, the most frequent first.

    Reasons that differ in numbers only ("truncated, 37 bytes missing") count as one. Of a status with more
    than `MAX_KINDS` of them, the further ones are not told apart.
    """
    statuses, kinds = Counter[str](), dict[str, Counter[str]]()
    for status, rows in split_failures(list_rows()):
        statuses[status] += len(rows)
        known = kinds.setdefault(status, Counter())
        for row in pc.value_counts(rows["kind"]).to_pylist():
            if row["values"] in known or len(known) < MAX_KINDS:
                known[row["values"]] += row["counts"]
    shown = {
        status: sorted(known, key=lambda k: (-known[k], k))[:N_REASONS] for status, known in kinds.items()
    }
    first = find_examples(list_rows(), {(status, kind) for status in shown for kind in shown[status]})
    failures = []
    for status, n_images in order_counts(statuses):
        reasons = (
            describe_reason(source, first[status, kind], kinds[status][kind]) for kind in shown[status]
        )
        failures.append(Failure(stage, status, n_images, tuple(reasons), len(kinds[status])))
    return failures


def split_failures(batches: Batches) -> Iterator[tuple[str, pa.Table]]:
    """Divide failed rows by status and add their ``kind``, the error without its numbers."""
    for batch in batches:
        kinds = pc.fill_null(pc.replace_substring_regex(batch["error"], r"\d+", "#"), "")
        rows = pa.table(batch).append_column("kind", kinds)
        for status, _ in count_values(batch["status"]):
            yield status, rows.filter(pc.equal(pc.fill_null(rows["status"], "unknown"), status))


def find_examples(batches: Batches, wanted: Set[tuple[str, str]]) -> dict[tuple[str, str], pa.Table]:
    """Take the images of smallest id of each ``wanted`` status and kind."""
    found: dict[tuple[str, str], pa.Table] = {}
    for status, rows in split_failures(batches):
        for kind in rows["kind"].unique().to_pylist():
            if (status, kind) in wanted:
                known = [found[status, kind]] if (status, kind) in found else []
                alike = [*known, rows.filter(pc.equal(rows["kind"], kind))]
                order = [("image_id", "ascending")]
                found[status, kind] = keep_first([pa.concat_tables(alike)], N_EXAMPLES, order)
    return found


def describe_reason(source: Source, rows: pa.Table, n_images: int) -> Reason:
    """Give a reason in the words of its first image, with some of its images as examples."""
    first = rows.to_pylist()
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
    collect_audit,
    collect_neighbours,
    collect_chains,
    collect_histogram,
    collect_objects,
    collect_mined,
    collect_training,
    collect_failures,
    collect_metrics,
)
