"""Every table of a workspace: its columns, its key and what one row means, each stated once.

Computed rows belong to a *build* (``build_id``, first column and partition). Packed columns are
little-endian binaries: vectors as the dtype that the build's run states, ids as int64, similarities
as float32.
"""

from dataclasses import dataclass, field

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Table:
    """A table of the workspace: ``key`` names the columns that identify a row within its scope."""

    name: str
    key: tuple[str, ...]
    schema: pa.Schema = field(repr=False)
    doc: str = field(repr=False)

    @property
    def has_builds(self) -> bool:
        """Whether rows belong to a build (else the table describes the collection itself)."""
        return "build_id" in self.schema.names


def table(name: str, key: str, columns: dict[str, pa.DataType], doc: str) -> Table:
    """Declare a table; ``key`` lists its key columns separated by spaces."""
    return Table(name, tuple(key.split()), pa.schema(list(columns.items())), doc)


def computed(name: str, key: str, columns: dict[str, pa.DataType], doc: str) -> Table:
    """Declare a table of a build: ``build_id`` comes first."""
    return table(name, "build_id " + key, {"build_id": pa.string()} | columns, doc)


STATUS = {"status": pa.string(), "error": pa.string()}
BOX = {"y0": pa.int32(), "x0": pa.int32(), "y1": pa.int32(), "x1": pa.int32()}

SOURCES = table(
    "sources",
    "source_id",
    {"source_id": pa.string(), "root": pa.string(), "kind": pa.string(), "path": pa.string()},
    "A place that images come from: a folder, a glob, a manifest or tar shards.",
)
IMAGES = table(
    "images",
    "image_id",
    {
        "image_id": pa.int64(),
        "source_id": pa.string(),
        "uri": pa.string(),  # relative to the source's root
        "content_hash": pa.string(),  # SHA-256 of the bytes
        "pixel_hash": pa.string(),  # SHA-256 of the upright RGB pixels and their size
        "width": pa.int32(),
        "height": pa.int32(),
        "format": pa.string(),
        "n_bytes": pa.int64(),
        "byte_offset": pa.int64(),  # of a member inside its tar shard, else null
        "modified_at": TIME,
        "taken_at": TIME,
        "sharpness": pa.float32(),  # variance of the Laplacian of the preview's luma
        "first_seen": TIME,
        "removed_at": TIME,
        "extra": pa.map_(pa.string(), pa.string()),  # further columns of the manifest
    }
    | STATUS,
    "An image of the collection, readable or not; its id never changes.",
)
PREVIEWS = table(
    "previews",
    "image_id",
    {"image_id": pa.int64(), "content_hash": pa.string(), "jpeg": pa.binary()},
    "A small JPEG of an image, upright, for people.",
)
GLOBAL_DESCRIPTORS = computed(
    "global_descriptors",
    "image_id",
    {"image_id": pa.int64(), "content_hash": pa.string(), "vector": pa.binary()} | STATUS,
    "One vector per image; null where the status is not ok.",
)
REGION_DESCRIPTORS = computed(
    "region_descriptors",
    "image_id region_ix",
    {"image_id": pa.int64(), "region_ix": pa.int32()} | BOX | {"vector": pa.binary()},
    "One vector per region of an image; the box is in pixels of the upright image.",
)
LOCAL_DESCRIPTORS = computed(
    "local_descriptors",
    "image_id",
    {
        "image_id": pa.int64(),
        "content_hash": pa.string(),
        "n_keypoints": pa.int32(),
        "points": pa.binary(),  # (n, 5) float32: x y scale angle strength, pixels of the upright image
        "vectors": pa.binary(),  # (n, d) of the dtype that the run states
    }
    | STATUS,
    "The keypoints of an image with their descriptors, strongest first, packed.",
)
MODELS = computed(
    "models",
    "kind",
    {"kind": pa.string(), "params": pa.binary()},
    "Fitted parameters (whitening, codebook, hash function): a npz archive.",
)
NEIGHBORS = computed(
    "neighbors",
    "src",
    {"src": pa.int64(), "dst": pa.binary(), "similarity": pa.binary()},
    "The nearest images of an image in rank order, packed; the image itself is never among them.",
)
NODES = computed(
    "nodes",
    "node_id",
    {
        "node_id": pa.int64(),
        "image_id": pa.int64(),
        "region_ix": pa.int32(),
        "dup_of": pa.int64(),  # the node that stands for it when vectors are equal, else null
        "status": pa.string(),  # ok, zero, nan, missing
        "weight": pa.float64(),  # of a region's score in that of its image, null of an image
    },
    "A node of the graph: an image, or a region of one (the mean of some, named by the nearest).",
)
EDGES = computed(
    "edges",
    "src dst",
    {"src": pa.int64(), "dst": pa.int64(), "affinity": pa.float64()},
    "An edge of the mutual-neighbour graph, stored in both directions.",
)
COMPONENTS = computed(
    "components",
    "node_id",
    {"node_id": pa.int64(), "component_id": pa.int64()},
    "The connected component of a node, named by its smallest node_id.",
)
MANIFOLD_NEIGHBORS = computed(
    "manifold_neighbors",
    "src",
    {
        "src": pa.int64(),
        "dst": pa.binary(),
        "score": pa.binary(),
        "residual": pa.float64(),  # relative, of the system on the shortlist
        "graph_version": pa.string(),  # of the edges that the row was computed from
        "stale_error": pa.float64(),  # largest relative error measured on a sample of stale rows; else null
    },
    "The offline diffusion of an image: the best nodes by score, which may be itself, packed. A copy has the "
    "row of the image that stands for it (nodes.dup_of).",
)
QUERIES = computed(
    "queries",
    "query_id",
    {"query_id": pa.int64(), "uri": pa.string()}
    | BOX
    | {"image_id": pa.int64()}
    | STATUS
    | {
        "no_support": pa.bool_(),  # the graph has nothing near the query: similarity alone ranks
        "iterations": pa.int32(),  # of the solver
        "residual": pa.float64(),  # relative, of the scores returned
    },
    "A query: an image, or a box of one; image_id when it is of the collection.",
)
RESULTS = computed(
    "results",
    "method query_id rank",
    {
        "method": pa.string(),
        "query_id": pa.int64(),
        "rank": pa.int32(),
        "image_id": pa.int64(),
        "score": pa.float32(),
        "region_ix": pa.int32(),  # the region that adds most to the score, where regions were searched
    },
    "The ordered answer to a query; ranks count from 0.",
)
EXPLANATIONS = computed(
    "explanations",
    "query_id image_id hop",
    {
        "query_id": pa.int64(),
        "image_id": pa.int64(),  # the result
        "hop": pa.int32(),  # from 0
        "src": pa.int64(),  # null: the query
        "dst": pa.int64(),
        "affinity": pa.float64(),
        "product": pa.float64(),  # of the affinities so far
    },
    "A hop of the chain of images, of greatest product, that leads from a query to a result.",
)
ENTRIES = computed(
    "entries",
    "word_id image_id",
    {"word_id": pa.int32(), "image_id": pa.int64(), "code": pa.binary()},
    "A posting: the packed bits, or the unit vector, of what an image aggregates in a visual word.",
)
WORD_STATS = computed(
    "word_stats",
    "word_id",
    {"word_id": pa.int32(), "n_images": pa.int64(), "idf": pa.float64()},
    "How many indexed images have a visual word, and its weight; absent words are in no image.",
)
IMAGE_STATS = computed(
    "image_stats",
    "image_id",
    {
        "image_id": pa.int64(),
        "content_hash": pa.string(),
        "n_keypoints": pa.int32(),
        "n_words": pa.int32(),
        "norm": pa.float64(),  # what a raw score is multiplied by; 0 where the image has no words
    }
    | STATUS,
    "An indexed image, with or without keypoints.",
)
SHARDS = computed(
    "shards",
    "shard",
    {
        "shard": pa.int32(),
        "first_ordinal": pa.int64(),
        "n_images": pa.int32(),
        "n_entries": pa.int64(),
        "path": pa.string(),  # of the folder of memory-mapped files, relative to the workspace
        "n_bytes": pa.int64(),
        "sha256": pa.string(),  # over the files in the order of their names
    },
    "The inverted file of some images, as files that a search maps into memory.",
)
VERIFIED_PAIRS = computed(
    "verified_pairs",
    "image_a image_b",
    {
        "image_a": pa.int64(),
        "image_b": pa.int64(),
        "contents": pa.int64(),  # hash of both files' content: verified again when it changes
        "n_matches": pa.int32(),
        "n_inliers": pa.int32(),
        "model": pa.string(),  # similarity, affine, homography, fundamental; null where none fits
        "transform": pa.binary(),  # (3, 3) float64, pixels of a -> pixels of b
        "spread": pa.float32(),  # share of the smaller image that the inliers' hull covers
        "overlap": pa.float32(),  # share of the smaller image that lies inside the other
        "agreement": pa.float32(),  # normalised correlation of the aligned pixels over the overlap
    }
    | STATUS,
    "Two images whose keypoints were matched, image_a < image_b, with the transform that explains them.",
)
CODES = computed(
    "codes",
    "image_id kind turn",
    {
        "image_id": pa.int64(),
        "content_hash": pa.string(),
        "kind": pa.string(),  # phash, dhash, ahash, whash, pdq, or a model's: lsh, pcah, itq ...
        "turn": pa.int32(),  # 0 to 7: quarter turns clockwise, plus 4 where the picture was mirrored before
        "code": pa.binary(),  # little-endian bits
        "n_bits": pa.int32(),
        "quality": pa.float32(),  # 0 to 1 of a pixel hash; low: a flat picture, whose code says little
    }
    | STATUS,
    "The bits of an image: a hash of its pixels in one of eight positions, or of its descriptor.",
)
EVIDENCE = {  # of the relation of two photos, as their pixels tell
    "found_by": pa.string(),  # what gave them: descriptors, codes, results, verified, group; or + of them
    "transform": pa.binary(),  # (3, 3) float64, pixels of a -> pixels of b; null where they were not compared
    "n_inliers": pa.int32(),  # distinct keypoints that it explains; 0: the frames were laid on each other
    "overlap_a": pa.float32(),  # share of a that b shows
    "overlap_b": pa.float32(),  # share of b that a shows
    "agreement": pa.float32(),  # normalised correlation of the aligned pixels over the overlap
    "share": pa.float32(),  # of the overlap, in blocks with a pattern, that agrees
    "difference": pa.float32(),  # largest difference of a small place, in units of the noise
    "seam": pa.float32(),  # how much stronger the outline of a part is than the edges along it
}
DUPLICATE_CANDIDATES = computed(
    "duplicate_candidates",
    "image_a image_b",
    {
        "image_a": pa.int64(),
        "image_b": pa.int64(),
        "contents": pa.int64(),  # hash of both files' content: compared again when it changes
        "relation": pa.string(),  # read a -> b; null: none
    }
    | EVIDENCE
    | STATUS,
    "Two images that may be copies, image_a < image_b, and what their aligned pixels said.",
)
DUPLICATE_PAIRS = computed(
    "duplicate_pairs",
    "image_a image_b",
    {
        "image_a": pa.int64(),
        "image_b": pa.int64(),
        # read a -> b: exact, same_pixels, near, turned, mirrored, crop, contains, composite, same_scene
        "relation": pa.string(),
        "similarity": pa.float32(),  # of descriptors; where pixels were compared, their agreement
        "size_ratio": pa.float32(),  # pixels of b / pixels of a
    }
    | EVIDENCE
    | {
        "split_a": pa.string(),  # of the column that --splits names
        "split_b": pa.string(),
        "group_id": pa.int64(),  # null where the guard kept the pair apart
        "cut": pa.string(),  # why the pair does not share a group, else null
    },
    "Two images that are copies of each other, image_a < image_b, with the evidence.",
)
DUPLICATE_GROUPS = computed(
    "duplicate_groups",
    "image_id",
    {
        "group_id": pa.int64(),
        "image_id": pa.int64(),
        "keep": pa.bool_(),
        "reason": pa.string(),  # why this one is kept, or what the kept one has over it
        "similarity": pa.float32(),  # to the kept image
    },
    "Membership of an image in a group of copies; exactly one member is marked to keep.",
)
GROUP_CHANGES = computed(
    "group_changes",
    "run_id group_id change other_id",
    {
        "run_id": pa.string(),
        "group_id": pa.int64(),
        "change": pa.string(),  # new, gone, grown, shrunk, split, merged
        "other_id": pa.int64(),  # the group split from or merged with, else the group itself
        "n_images": pa.int32(),
    },
    "What a run changed in the groups.",
)
PLANTED_COPIES = computed(
    "planted_copies",
    "image_id transformation",
    {
        "image_id": pa.int64(),  # the photo that was copied
        "transformation": pa.string(),
        "strength": pa.float64(),
        "remaining": pa.float32(),  # share of the original's area in the frame of the copy
        "found": pa.bool_(),
        "relation": pa.string(),  # of the pair of copy and original, null without one
        "similarity": pa.float32(),
    }
    | STATUS,
    "A copy of a photo that was planted, apart from the collection, to see whether it is found.",
)
AUDITS = computed(
    "audits",
    "figure subject strength",
    {
        "figure": pa.string(),  # recall, planted_precision (at least), judged_precision
        "subject": pa.string(),  # a transformation or a relation; all: over all of them
        "strength": pa.float64(),  # null: over all strengths
        "n": pa.int64(),  # copies, or pairs
        "n_right": pa.int64(),
        "value": pa.float64(),
        "ci_low": pa.float64(),  # 95 %, Wilson
        "ci_high": pa.float64(),
    },
    "How many of the planted copies were found, and how many of the found pairs are right.",
)
METRICS = computed(
    "metrics",
    "protocol method family query_id metric",
    {
        "run_id": pa.string(),
        "protocol": pa.string(),
        "method": pa.string(),
        "family": pa.string(),  # null: over all families
        "query_id": pa.int64(),  # null: an aggregate
        "metric": pa.string(),
        "value": pa.float64(),
        "n_queries": pa.int32(),
        "ci_low": pa.float64(),  # 95 % bootstrap over queries
        "ci_high": pa.float64(),
    },
    "A figure of quality, of one query or over many.",
)
TRAINING_POOLS = computed(
    "training_pools",
    "anchor item role source",
    {
        "anchor": pa.int64(),  # an image_id, like item
        "item": pa.int64(),
        "role": pa.string(),  # positive, negative; an item never has both for one anchor
        "source": pa.string(),  # manifold, verified, labels, reconstruction
        "reason": pa.string(),  # what makes the item one of the pool, in words
        "rank": pa.int32(),  # among those of the anchor, role and source, the first to be used first, from 0
        "score": pa.float32(),  # manifold similarity, or both labels' weights, multiplied; null: not computed
        "similarity": pa.float32(),  # of their descriptors; null: not computed
        "n_common": pa.int32(),  # points of a reconstruction, or inliers, that both share
        "overlap": pa.float32(),  # n_common / points of the anchor
        "scale": pa.float32(),  # how much larger things are in one of them, at least 1
        "anchor_weight": pa.float64(),  # of the anchor: stationary probability of a random walk, or 1
        "component_id": pa.int64(),  # of the anchor: component, 3D model, or first image of its label
        "split": pa.string(),  # train, validation
    },
    "An image that an anchor may be trained with: to be near it (positive) or far from it (negative).",
)
TRAINING_TUPLES = computed(
    "training_tuples",
    "anchor positive negative",
    {
        "anchor": pa.int64(),  # an image_id, like positive and negative
        "positive": pa.int64(),
        "negative": pa.int64(),  # one row for each negative of (anchor, positive)
        "rank": pa.int32(),  # of the negative among those of (anchor, positive), the nearest first, from 0
        "source": pa.string(),  # of the positive: manifold, verified, labels, reconstruction
        "weight": pa.float32(),  # of the positive, with mean 1 over the (anchor, positive) pairs of a build
        "positive_score": pa.float32(),  # manifold similarity; null: not computed
        "positive_similarity": pa.float32(),  # of descriptors; null: not computed
        "negative_similarity": pa.float32(),
        "component_id": pa.int64(),  # of the anchor
        "split": pa.string(),  # train, validation; no image is in tuples of both
    },
    "An anchor with an image of the same thing and one of another thing, to train a network with.",
)
DUPLICATE_LIMITS = computed(
    "duplicate_limits",
    "reason kind part key",
    {
        "reason": pa.string(),  # max_bucket: codes that share a part; completed: linked images
        "kind": pa.string(),  # of the codes, else empty
        "part": pa.int32(),  # of the codes, counted twice, see `resight.hashing.buckets`; else 0
        "key": pa.int64(),  # value of the part, or the component of linked images
        "n_images": pa.int64(),  # in the bucket, on its larger side, or linked
        "n_pairs": pa.int64(),  # that were not compared there; another part, or a list, may have given some
    },
    "Pairs that a limit of find-duplicates left out, counted where they are too many to compare.",
)
SALIENCY_MAPS = computed(
    "saliency_maps",
    "image_id",
    {
        "image_id": pa.int64(),
        "content_hash": pa.string(),
        "height": pa.int32(),  # of the maps, in cells
        "width": pa.int32(),
        "features": pa.binary(),  # (height, width) float32: what an image has of its own
        "objects": pa.binary(),  # (height, width) float32: of that, what recurs in the collection
        "n_regions": pa.int32(),  # boxes found in the latter; 0: nothing recurs
    }
    | STATUS,
    "Where an image shows what other images show too.",
)
OBJECTS = computed(
    "objects",
    "object_id",
    {
        "object_id": pa.int64(),
        "n_images": pa.int32(),
        "n_instances": pa.int32(),  # boxes; an image may show an object several times
        "score": pa.float64(),  # sum over its images of the best score
    },
    "Something that recurs in the collection; by n_images, then score, the most frequent come first.",
)
OBJECT_INSTANCES = computed(
    "object_instances",
    "object_id image_id region_ix",
    {"object_id": pa.int64(), "image_id": pa.int64(), "region_ix": pa.int32()}
    | BOX
    | {"score": pa.float32()},  # mean object saliency inside the box
    "A box of an image that shows an object, in pixels of the upright image.",
)
TRAINING_LOG = computed(
    "training_log",
    "epoch step",
    {
        "epoch": pa.int32(),  # from 1; 0: before the training
        "step": pa.int32(),  # of the epoch, from 1
        "loss": pa.float64(),  # per tuple, before the step
        "learning_rate": pa.float64(),
        "p": pa.float64(),  # exponent of GeM after the step; null of another pooling
        "map": pa.float64(),  # on the validation, at the last step of an epoch; null elsewhere
    },
    "A step of the training of a network.",
)
IMAGE_LABELS = computed(
    "image_labels",
    "image_id",
    {
        "image_id": pa.int64(),
        "label": pa.string(),  # given, or propagated; null where no label reaches
        "is_given": pa.bool_(),
        "propagated": pa.string(),  # what the graph says, also where the label is given
        "certainty": pa.float32(),  # 0 to 1; 1 of a given label
        "margin": pa.float32(),  # share of the label in what reaches the image, less that of the second
        "weight": pa.float32(),  # of the image in a training: certainty times the weight of its class
    },
    "The label of an image, known or spread over the graph.",
)
LABEL_RELEVANCES = computed(
    "label_relevances",
    "image_id label",
    {
        "image_id": pa.int64(),
        "label": pa.string(),
        "is_clean": pa.bool_(),  # somebody has looked at it
        "relevance": pa.float32(),  # 0 to 1; 1 of a clean label; null where the class could not be cleaned
        "status": pa.string(),  # of the class: ok, no_noisy, no_clean, no_clean_edges, collapsed
    },
    "How far a label of an image is to be believed.",
)

NAMED = pa.map_(pa.string(), pa.string())
RUNS = pa.schema(  # the committed runs, which are files and no table, as `Reader.runs_table` gives them
    [
        *((name, pa.string()) for name in ("run_id", "job", "build_id", "name")),
        ("sequence", pa.int64()),
        ("settings", pa.string()),  # JSON, like outputs and notes
        ("settings_hash", pa.string()),
        ("parents", NAMED),
        ("inputs", NAMED),
        ("outputs", pa.string()),
        ("written", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("notes", "code_version", "device", "precision")),
        ("started_at", TIME),
        ("seconds", pa.float64()),
        ("committed_at", TIME),
        ("dropped", pa.bool_()),
    ]
)
TABLES = {t.name: t for t in list(globals().values()) if isinstance(t, Table)}
BY_THE_WAY = {GLOBAL_DESCRIPTORS.name: ("discover-objects",)}  # jobs not meant where no build is named
