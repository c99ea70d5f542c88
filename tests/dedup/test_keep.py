import io
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from resight.dedup.keep import (
    criterion_values,
    deciding_criteria,
    explain_kept,
    explain_rest,
    keep_order,
    parse_policy,
)
from resight.images.inspect import inspect_image
from resight.tables import IMAGES
from tests.dedup import oracle
from tests.pictures import PHOTOS

OLD, NEW = datetime(2001, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
PLAIN = {
    "width": 640,
    "height": 480,
    "sharpness": 5.0,
    "n_bytes": 100,
    "modified_at": NEW,
    "taken_at": None,
    "uri": "b.jpg",
}


def images(*rows):
    full = [PLAIN | {"image_id": i + 1} | row for i, row in enumerate(rows)]
    return pa.Table.from_pylist(full, IMAGES.schema)


def explain(kept, rest, criteria=None):
    policy = parse_policy() if criteria is None else parse_policy(criteria)
    decided = deciding_criteria(images(kept), images(rest), policy)
    return explain_rest(images(kept), images(rest), decided, policy)[0]


@pytest.mark.parametrize(
    ("better", "reason"),
    [
        ({"width": 1024, "height": 768}, "larger: 1024x768 over 640x480"),
        ({"sharpness": 12.25}, "sharper: 12.2 over 5.0"),
        ({"n_bytes": 101}, "more bytes: 101 over 100"),
        ({"taken_at": OLD}, "older: 2001-01-01 00:00:00 over 2020-01-01 00:00:00"),
        ({"uri": "a.jpg"}, "earlier path: a.jpg over b.jpg"),
        ({"image_id": 0}, "equal in every criterion"),
    ],
)
def test_the_default_policy_keeps_the_better_image_and_says_why(better, reason):
    rows = images({"image_id": 1}, better | {"image_id": 0 if "image_id" in better else 9})
    assert keep_order(rows, parse_policy()).tolist() == [1, 0]
    assert explain(better, {}) == reason


@pytest.mark.parametrize(
    "unknown", [{"width": None}, {"sharpness": None}, {"sharpness": np.nan}, {"n_bytes": None}]
)
def test_an_unknown_value_loses_in_both_directions(unknown):
    for criteria in (["resolution", "sharpness", "bytes"],):
        for turned in (criteria, [f"{c}:reverse" for c in criteria]):
            order = keep_order(images(unknown, {}), parse_policy(turned))
            assert order.tolist() == [1, 0]


def test_an_unknown_value_is_said_to_be_unknown():
    assert explain({}, {"width": None}) == "larger: 640x480 over unknown"


def test_reverse_turns_a_criterion():
    rows = images({"taken_at": OLD}, {"taken_at": NEW})
    assert keep_order(rows, parse_policy(["oldest:reverse"])).tolist() == [1, 0]


def test_a_folder_can_be_preferred():
    rows = images({"uri": "backup/x.jpg", "width": 9000}, {"uri": "originals/x.jpg"})
    policy = parse_policy(["under:originals/", "resolution"])
    assert keep_order(rows, policy).tolist() == [1, 0]
    assert explain({"uri": "originals/x"}, {}, ["under:originals/"]) == "under originals/"


def test_order_of_criteria_decides():
    rows = images({"width": 900, "n_bytes": 1}, {"n_bytes": 50})
    assert keep_order(rows, parse_policy(["bytes", "resolution"])).tolist() == [1, 0]


@pytest.mark.parametrize("criteria", [["size"], ["oldest:up"], ["under:"], ["path", "path"]])
def test_a_policy_that_makes_no_sense_is_refused(criteria):
    with pytest.raises(ValueError, match="keep criterion"):
        parse_policy(criteria)


def test_the_kept_image_is_described_by_what_decided():
    policy = parse_policy()
    assert explain_kept([0, 0, 0], 4, policy) == "highest resolution of 4"
    assert explain_kept([3, 0], 3, policy) == "highest resolution, then oldest of 3"
    assert explain_kept([5], 2, policy) == "equal in every criterion of 2"


def test_order_equals_sorting_by_a_python_key(rng):
    choices = {
        "width": [640, 800, None],
        "sharpness": [0.2, 5.0, 6.0, 8.0, None],
        "n_bytes": [10, 20, None],
        "taken_at": [OLD, NEW, None],
        "uri": ["a", "B", "é", "=x"],
    }
    rows = [{name: values[rng.integers(len(values))] for name, values in choices.items()} for _ in range(300)]
    table = images(*rows)
    listed = table.to_pylist()
    expected = sorted(range(300), key=lambda i: oracle.keep_key(listed[i]))
    assert keep_order(table, parse_policy()).tolist() == expected


@pytest.mark.parametrize(
    ("sharpness", "step"),
    [(0, 0), (0.9, 0), (1, 0), (7.9999995, 2), (8, 3), (8.4, 3), (2.0**29, 29), (np.nan, None), (None, None)],
)
def test_sharpness_is_compared_in_steps_of_a_factor_of_two(sharpness, step):
    (criterion,) = parse_policy(["sharpness"])
    assert criterion_values(criterion, images({"sharpness": sharpness})).to_pylist() == [step]


def test_a_few_percent_of_sharpness_do_not_decide():
    rows = images({"sharpness": 1045.0}, {"sharpness": 1052.0, "n_bytes": 90})
    assert keep_order(rows, parse_policy(["resolution", "sharpness", "bytes"])).tolist() == [0, 1]


@pytest.fixture(scope="module", params=sorted(PHOTOS))
def versions(request):
    """A photo as its camera saved it, and what programs make of it."""
    with Image.open(PHOTOS[request.param]) as photo:
        original = photo.convert("RGB")
    small = original.resize([side // 2 for side in original.size], Image.Resampling.LANCZOS)
    saved = {
        "original": (original, 92),
        "recompressed": (original, 70),
        "brightened": (original.point(lambda value: value * 1.2 + 5), 85),
        "half": (small, 95),
    }
    return {name: jpeg(*version) for name, version in saved.items()}


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_the_original_is_kept_of_its_recompressed_brightened_and_smaller_copies(versions):
    contents = list(versions.values())
    facts = [inspect_image(content) for content in contents]
    described = [{name: getattr(f, name) for name in ("width", "height", "sharpness")} for f in facts]
    rows = images(*(d | {"n_bytes": len(c)} for d, c in zip(described, contents, strict=True)))
    assert keep_order(rows, parse_policy())[0] == list(versions).index("original")
    assert facts[2].sharpness > facts[0].sharpness, "brightening sharpens, so sharpness cannot come first"
    assert keep_order(rows, parse_policy())[-1] == list(versions).index("half")


def test_times_outside_the_calendar_are_shown():
    table = images({}).set_column(
        IMAGES.schema.get_field_index("taken_at"),
        "taken_at",
        pa.array([-(2**62)]).cast(IMAGES.schema.field("taken_at").type),
    )
    policy = parse_policy(["oldest"])
    decided = deciding_criteria(table, images({}), policy)
    assert explain_rest(table, images({}), decided, policy)[0].startswith("older: ")
