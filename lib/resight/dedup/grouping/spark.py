"""Build groups of copies under the guard: the Spark operators."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

from resight.arrow import arrow_to_vectors
from resight.dedup.groups import (
    GroupRule,
    Measure,
    cosine_measure,
    split_component,
    unknown_measure,
)
from resight.dedup.keep import (
    KEEP_COLUMNS,
    TIED,
    Criterion,
    deciding_criteria,
    explain_rest,
    keep_order,
)
from resight.dedup.pairs import COPIES, GROUPING

Hold = Callable[[DataFrame], DataFrame]


def group_pairs(
    pairs: DataFrame,
    copies: DataFrame,
    components: DataFrame,
    vectors: DataFrame | None,
    *,
    rule: GroupRule,
    hold: Hold = lambda frame: frame.localCheckpoint(eager=False),
) -> tuple[DataFrame, DataFrame]:
    """Build groups under the guard: `DUPLICATE_PAIRS` rows and `DUPLICATE_GROUPS` rows.

    ``components`` (``node_id``, ``component_id``) holds the components of the pairs; ``vectors``
    (``image_id``, ``vector``) measures images that are not paired with the kept one, without it only
    paired images share a group. Further columns of ``pairs`` pass through. A group is called by its
    smallest ``image_id``; its copies never enter a kernel, so their number is not limited.

    ``hold`` keeps an intermediate result *and cuts its plan off*: the default is lost with an executor,
    a job on a cluster writes it out and reads it back. ``persist`` would leave plans that double with
    each step.
    """
    ends = sf.explode(sf.array("image_a", "image_b"))
    paired = pairs.select(ends.alias("image_id")).distinct()
    inside = hold(copies.join(paired, "image_id", "left_semi"))
    split = hold(split_components(pairs, inside, components, vectors, rule=rule))
    members = hold(find_members(inside, split))
    return mark_pairs(pairs, members, split, rule=rule), explain_groups(members, inside, rule=rule)


def link_pairs(pairs: DataFrame) -> DataFrame:
    """Give the pairs whose relation joins groups as links (src, dst)."""
    joining = pairs.where(sf.col("relation").isin(list(GROUPING)))
    return joining.select(sf.col("image_a").alias("src"), sf.col("image_b").alias("dst"))


def count_groups(groups: DataFrame) -> dict[str, int]:
    """Count groups, what could go, and the members of the largest group."""
    sizes = groups.groupBy("group_id").agg(sf.count("*").alias("n"))
    total = sizes.agg(sf.count("*"), sf.coalesce(sf.sum("n"), sf.lit(0)), sf.coalesce(sf.max("n"), sf.lit(0)))
    n_groups, n_images, largest = total.collect()[0]
    return {"groups": n_groups, "removable": n_images - n_groups, "largest": largest}


def split_components(
    pairs: DataFrame,
    copies: DataFrame,
    components: DataFrame,
    vectors: DataFrame | None,
    *,
    rule: GroupRule,
) -> DataFrame:
    """Run `split_component` over blocks of components of representatives.

    Gives ``image_id``, ``kept_id``, ``similarity``, ``member``: a row per representative that has a
    pair of its own, and a row with ``member`` false for each that was kept out of a group it touches.
    """
    linked = link_representatives(pairs, copies).join(
        components.select(sf.col("node_id").alias("image_a"), "component_id"), "image_a", "left"
    )
    blocks = linked.select(
        "image_a",
        "image_b",
        "similarity",
        sf.pmod(sf.xxhash64("component_id"), sf.lit(rule.n_blocks)).alias("block"),
    )
    ends = blocks.select("block", sf.explode(sf.array("image_a", "image_b")).alias("image_id"))
    nodes = ends.distinct().join(copies.select(*KEEP_COLUMNS), "image_id")
    if vectors is not None:
        nodes = nodes.join(vectors.select("image_id", "vector"), "image_id", "left")
    rows = nodes.unionByName(blocks, allowMissingColumns=True)

    def split_block(rows: pa.Table) -> pa.Table:
        return split_rows(rows, rule)

    schema = "image_id long, kept_id long, similarity float, member boolean"
    return rows.groupBy("block").applyInArrow(split_block, schema)


def link_representatives(pairs: DataFrame, copies: DataFrame) -> DataFrame:
    """Move pairs that join groups to the representatives of their images; copies fall away."""
    strong = [r for r in GROUPING if r not in COPIES]
    a = copies.select(sf.col("image_id").alias("image_a"), sf.col("representative").alias("a"))
    b = copies.select(sf.col("image_id").alias("image_b"), sf.col("representative").alias("b"))
    moved = pairs.where(sf.col("relation").isin(strong)).join(a, "image_a").join(b, "image_b")
    return (
        moved.where("a != b")
        .groupBy(sf.least("a", "b").alias("image_a"), sf.greatest("a", "b").alias("image_b"))
        .agg(sf.max("similarity").alias("similarity"))
    )


def split_rows(rows: pa.Table, rule: GroupRule) -> pa.Table:
    """Run the kernel on the rows of one block: nodes have an ``image_id``, pairs do not."""
    nodes = rows.filter(pc.is_valid(rows["image_id"])).sort_by("image_id")
    links = rows.filter(pc.is_null(rows["image_id"]))
    ids = nodes["image_id"].to_numpy()
    ends = np.column_stack([links["image_a"].to_numpy(), links["image_b"].to_numpy()])
    split = split_component(
        keep_order(nodes, rule.policy),
        np.searchsorted(ids, ends),
        links["similarity"].to_numpy(),
        measure_of(nodes, rule),
        min_similarity=rule.min_similarity,
        max_size=rule.max_size,
    )
    n_cut = len(split.cut_image)
    return pa.table(
        {
            "image_id": np.concatenate([ids, ids[split.cut_image]]),
            "kept_id": np.concatenate([ids[split.kept], ids[split.cut_kept]]),
            "similarity": np.concatenate([split.similarity, split.cut_similarity]),
            "member": np.repeat([True, False], [len(ids), n_cut]),
        }
    )


def measure_of(nodes: pa.Table, rule: GroupRule) -> Measure:
    """Measure by the vectors of ``nodes``, where there are any."""
    if "vector" not in nodes.column_names:
        return unknown_measure
    present = pc.is_valid(nodes["vector"]).to_numpy()
    if not present.any():
        return unknown_measure
    vectors = arrow_to_vectors(nodes["vector"].drop_null(), rule.dtype)
    X = np.full((len(nodes), vectors.shape[1]), np.nan, vectors.dtype)
    X[present] = vectors
    return cosine_measure(X)


def find_members(copies: DataFrame, split: DataFrame) -> DataFrame:
    """Find the group of each image: ``image_id``, ``kept_id``, ``similarity``, ``group_id``.

    An image follows its representative. ``group_id`` and ``n_images`` are null where it is alone.
    """
    assigned = split.where("member").select(
        sf.col("image_id").alias("representative"), "kept_id", "similarity"
    )
    placed = copies.join(assigned, "representative", "left").select(
        "image_id",
        "representative",
        sf.coalesce("kept_id", "representative").alias("kept_id"),
        sf.coalesce("similarity", sf.lit(1.0)).cast("float").alias("similarity"),
    )
    sizes = placed.groupBy("kept_id").agg(
        sf.min("image_id").alias("group_id"), sf.count("*").cast("int").alias("n_images")
    )
    return placed.join(sizes.where("n_images > 1"), "kept_id", "left")


def mark_pairs(pairs: DataFrame, members: DataFrame, split: DataFrame, *, rule: GroupRule) -> DataFrame:
    """Add ``group_id`` where a pair shares a group, and ``cut``, the reason, where it does not."""
    columns = ("image_id", "representative", "kept_id", "group_id")
    a = members.select(*(sf.col(name).alias(f"{name}_a") for name in columns))
    b = members.select(*(sf.col(name).alias(f"{name}_b") for name in columns))
    both = (
        pairs.withColumnRenamed("image_a", "image_id_a")
        .withColumnRenamed("image_b", "image_id_b")
        .join(a, "image_id_a")
        .join(b, "image_id_b")
    )
    for end, other in ("ab", "ba"):  # one end was measured against the image kept for the other
        cuts = split.where("not member").select(
            sf.col("image_id").alias(f"representative_{end}"),
            sf.col("kept_id").alias(f"kept_id_{other}"),
            describe_cut(rule.min_similarity).alias(f"cut_{end}"),
        )
        both = both.join(cuts, [f"representative_{end}", f"kept_id_{other}"], "left")
    together = sf.col("kept_id_a") == sf.col("kept_id_b")
    joins = sf.col("relation").isin(list(GROUPING))
    apart = sf.when(~joins, sf.concat(sf.lit("joins no group: "), "relation"))
    return both.select(
        sf.col("image_id_a").alias("image_a"),
        sf.col("image_id_b").alias("image_b"),
        *(name for name in pairs.columns if name not in ("image_a", "image_b")),
        sf.when(together, sf.col("group_id_a")).alias("group_id"),
        sf.when(~together, sf.coalesce(apart, "cut_b", "cut_a")).alias("cut"),
    )


def describe_cut(min_similarity: float) -> Column:
    """Say why the image of a cut row was kept out."""
    unknown = sf.format_string("image %d cannot be measured to kept image %d", "image_id", "kept_id")
    full = sf.format_string("image %d finds the group of kept image %d full", "image_id", "kept_id")
    low = sf.format_string(
        f"image %d reaches %.4f of {min_similarity:.4f} to kept image %d", "image_id", "similarity", "kept_id"
    )
    reached = sf.col("similarity") >= sf.lit(min_similarity).cast("float")
    return sf.when(sf.isnan("similarity"), unknown).when(reached, full).otherwise(low)


def explain_groups(members: DataFrame, copies: DataFrame, *, rule: GroupRule) -> DataFrame:
    """Write the groups out with the kept image marked and reasons in words."""
    own = copies.select(*KEEP_COLUMNS)
    kept = copies.select(*(sf.col(name).alias(f"kept_{name}") for name in KEEP_COLUMNS))
    rows = members.where("group_id is not null").join(own, "image_id")
    policy = rule.policy

    def explain_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rest = pa.table({name: batch[name] for name in KEEP_COLUMNS})
            best = pa.table({name: batch[f"kept_{name}"] for name in KEEP_COLUMNS})
            decided = deciding_criteria(best, rest, policy)
            reasons = pa.array(explain_rest(best, rest, decided, policy))
            columns = [batch[name] for name in ("group_id", "image_id", "kept_id", "similarity")]
            yield pa.record_batch([*columns, batch["n_images"], pa.array(decided), reasons], names=names)

    schema = (
        "group_id long, image_id long, kept_id long, similarity float, n_images int, "
        "decided int, reason string"
    )
    names = [column.split()[0] for column in schema.split(", ")]
    explained = rows.join(kept, sf.col("kept_id") == sf.col("kept_image_id")).mapInArrow(
        explain_batches, schema
    )
    keep = sf.col("image_id") == sf.col("kept_id")
    return explained.select(
        "group_id",
        "image_id",
        keep.alias("keep"),
        sf.when(keep, name_winner(policy)).otherwise(sf.col("reason")).alias("reason"),
        "similarity",
    )


def name_winner(policy: Sequence[Criterion]) -> Column:
    """Name the criteria that decided in a group: `explain_kept` in Spark's words."""
    group = Window.partitionBy("group_id")
    decided = sf.bit_or(sf.expr("shiftleft(1, decided)")).over(group)
    words = [
        sf.when(decided.bitwiseAND(1 << i) != 0, criterion.superlative) for i, criterion in enumerate(policy)
    ]
    said = sf.concat_ws(", then ", *words)
    return sf.concat(sf.when(said == "", TIED).otherwise(said), sf.lit(" of "), sf.col("n_images"))
