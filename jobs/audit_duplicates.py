"""Measure how well copies are found here: plant known ones, look for them, and read a person's verdicts."""

from pathlib import Path
from typing import Annotated

from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from pyspark.sql.pandas.types import from_arrow_schema

from resight import files
from resight.chunks.spark import Chunks, read_chunks, run_chunks
from resight.cli import run
from resight.config import Config, Meta, SettingError, digest_of, execution, require_local
from resight.dedup.audit.cloning.spark import clone_builds, follow_jobs, list_builds
from resight.dedup.audit.edits import EDITS
from resight.dedup.audit.figures import (
    JUDGED,
    Figure,
    judged_figures,
    precision_figures,
    recall_figures,
)
from resight.dedup.audit.judge import LISTED, estimate_judged, read_judgements, write_judgements
from resight.dedup.audit.plant import PLANTED, PlantWork, crashed_plants, plan_copies
from resight.dedup.audit.spark import count_pairs, judge_pairs, match_copies, sample_pairs, sample_photos
from resight.job import Input, Options, job
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest_images
from resight.store import TableStore, spark_schema
from resight.tables import AUDITS, DUPLICATE_GROUPS, DUPLICATE_PAIRS, IMAGES, PLANTED_COPIES, SOURCES
from resight.workspace import COLLECTION

PHOTOS_PER_CHUNK = 16
SOURCE, PHOTOS = "resight-planted", "photos"


class AuditConfig(Config, frozen=True):
    """Settings of ``audit-duplicates``."""

    duplicates: Annotated[str, Meta(description="build of find-duplicates; default: the newest")] = ""
    sample: Annotated[int, Meta(ge=1, description="photos of which copies are planted, one by each")] = 100
    transformations: Annotated[tuple[str, ...], Meta(min_length=1, description=f"of {', '.join(EDITS)}")] = (
        tuple(EDITS)
    )
    seed: Annotated[int, Meta(ge=0, description="of the sample, of strengths and places")] = 0
    judgements: Annotated[str, execution("CSV of judged pairs, as --judge writes it, with verdicts")] = ""
    judge: Annotated[str, execution("CSV file to write with found pairs for a person to judge")] = ""
    pairs_to_judge: Annotated[int, execution("pairs of each relation that --judge lists", ge=1)] = 50

    def __post_init__(self) -> None:
        """Check the names, and where the list goes."""
        names = self.transformations
        wrong = [name for name in names if name not in EDITS or names.count(name) > 1]
        if wrong:
            raise ValueError(f"transformations: {wrong[0]} is unknown or named twice; {', '.join(EDITS)}")
        if self.judge and files.local_path(self.judge) is None:
            raise ValueError(f"judge: {self.judge} lies on a remote store; give a path on this machine")

    @property
    def preload(self) -> tuple[str, ...]:
        """What networks are built with: the planted copies are described."""
        return ("timm",)

    def check(self) -> None:
        """Read the judgements, and look whether the list would overwrite some."""
        judged_version(self)
        if self.judge and Path(files.absolute(self.judge)).exists():
            raise SettingError(f"--judge: {self.judge} is there already; name a new file")


def judged_version(conf: AuditConfig) -> str:
    """Give the version of the judgements."""
    if not conf.judgements:
        return "none"
    require_local(conf.judgements, "--judgements")
    read_judgements(Path(files.absolute(conf.judgements)))
    return digest_of(files.read_bytes(files.absolute(conf.judgements)).decode("utf-8-sig", "replace"))


@job(
    "audit-duplicates",
    AuditConfig,
    reads=(Input(DUPLICATE_PAIRS, "duplicates"), DUPLICATE_GROUPS, IMAGES, SOURCES),
    writes=(PLANTED_COPIES, AUDITS),
    external=judged_version,
    finish=lambda store, conf: list_to_judge(store, conf),
)
def main(store: TableStore, conf: AuditConfig) -> None:
    """Plant copies of a sample of photos and see which of them the jobs that found copies find.

    The copies are carried through the same jobs, with the same settings and models, beside all images, in a
    clone of the workspace that is deleted at the end: no table of the collection changes but those of audits.
    """
    carried = carry_figures(store)
    rows = audit_planted(store, conf) if carried is None else carried
    rows += judged_rows(store, conf)
    store.write(AUDITS, store.spark.createDataFrame(rows, spark_schema(AUDITS)))
    whole = [row for row in rows if row.subject == "all"]
    store.note(**{row.figure: f"{row.value:.3f} of {row.n}" for row in whole})


def carry_figures(store: TableStore) -> list[Figure] | None:
    """Give the figures of the last run, where nothing but judgements came since."""
    last, before = store.run.previous, store.previous(AUDITS)
    seen = {name: f"{run.build_id}@{run.outputs[name].version}" for name, run in store.run.inputs.items()}
    if last is None or before is None or seen != {k: v for k, v in last.inputs.items() if k != "external"}:
        return None
    kept = before.where(sf.col("figure") != JUDGED).select(*Figure._fields).collect()
    return [Figure(*row) for row in kept]


def audit_planted(store: TableStore, conf: AuditConfig) -> list[Figure]:
    """Plant copies, look for them, write what was found; give the figures."""
    builds = list_builds(store.workspace, store.run.inputs[DUPLICATE_PAIRS.name])
    versions = [[run.build_id, {n: o.version for n, o in run.outputs.items()}] for run in builds]
    place = store.staging(digest_of([versions, conf.digest]))
    ingested = IngestConfig.from_mapping(store.workspace.builds()[COLLECTION].settings | {"source": "-"})
    planted = plant_copies(store, conf, ingested, place)
    cloned = TableStore(clone_builds(store, files.join(place, "workspace"), builds), store.spark)
    add_source(cloned, ingested, files.join(place, PHOTOS))
    follow_jobs(cloned, builds)
    images = cloned.read(IMAGES)
    copies = images.where(sf.col("source_id") == SOURCE)
    ids = copies.select(sf.col("uri").alias("copy_uri"), sf.col("image_id").alias("copy_id"))
    planted = store.persist("planted", planted.join(ids, "copy_uri", "left"))
    pairs, groups = cloned.read(DUPLICATE_PAIRS), cloned.read(DUPLICATE_GROUPS)
    store.write(PLANTED_COPIES, store.persist("matched", match_copies(planted, images, pairs, groups)))
    right = judge_pairs(planted, images, pairs, store.read(DUPLICATE_GROUPS)).collect()
    return recall_rows(store) + precision_figures(tuple(row) for row in right)


def add_source(cloned: TableStore, ingested: IngestConfig, folder: str) -> None:
    """Ingest the files of planted copies as the images of the collection were."""
    settings = {"kind": "folder", "source_id": SOURCE, "source": folder}
    looked = {name: getattr(ingested, name) for name in ("max_pixels", "preview_side", "decoder")}
    conf = IngestConfig.from_mapping(settings | looked)
    ingest_images(cloned, conf, Options(lock="none", accept_loss=True))


def plant_copies(store: TableStore, conf: AuditConfig, ingested: IngestConfig, place: str) -> DataFrame:
    """Write the files of planted copies: rows of `PLANTED`."""
    sample = sample_photos(store.read(IMAGES), store.read(SOURCES), sample=conf.sample, seed=conf.seed)
    if not len(sample):
        raise SettingError("audit-duplicates: no image of the collection has pixels")
    plan = plan_copies(sample, names=conf.transformations, seed=conf.seed)
    work = PlantWork(files.join(place, PHOTOS), conf.seed, ingested.max_pixels, ingested.decoder)
    chunks = Chunks(
        files.join(place, "chunks"), work, crashed_plants, PHOTOS_PER_CHUNK * len(conf.transformations)
    )
    run_chunks(store.spark.createDataFrame(plan), "image_id", chunks)
    return read_chunks(store.spark, chunks, from_arrow_schema(PLANTED))


def recall_rows(store: TableStore) -> list[Figure]:
    """Count the copies that were found, by transformation and strength."""
    copies = store.written(PLANTED_COPIES).where("status = 'ok'").groupBy("transformation", "strength")
    counted = copies.agg(sf.count("*").alias("n"), sf.count_if("found").alias("n_right")).collect()
    return recall_figures(tuple(row) for row in counted)


def judged_rows(store: TableStore, conf: AuditConfig) -> list[Figure]:
    """Estimate the precision of the found pairs from those that a person judged."""
    if not conf.judgements:
        return []
    judged = read_judgements(Path(files.absolute(conf.judgements)))
    counted, sizes, n_known = count_pairs(store.read(DUPLICATE_PAIRS), judged)
    store.note(judged=len(judged), judged_but_not_found=len(judged) - n_known)
    return judged_figures(estimate_judged(counted, sizes))


def list_to_judge(store: TableStore, conf: AuditConfig) -> None:
    """Write a sample of the found pairs for a person to judge."""
    if not conf.judge:
        return
    roots = store.read(SOURCES).select("source_id", "root")
    images = store.read(IMAGES).join(roots, "source_id", "left")
    path = sf.concat_ws("/", sf.rtrim("root", sf.lit("/")), "uri")
    pairs = sample_pairs(store.read(DUPLICATE_PAIRS), n=conf.pairs_to_judge, seed=conf.seed)
    for side in "ab":
        named = images.select(sf.col("image_id").alias(f"image_{side}"), path.alias(f"uri_{side}"))
        pairs = pairs.join(named, f"image_{side}")
    listed = pairs.orderBy("relation", "image_a", "image_b").select(*LISTED)
    store.note(to_judge=write_judgements(store.stream("to-judge", listed), Path(files.absolute(conf.judge))))


if __name__ == "__main__":
    run(main)
