from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec import to_builtins

from resight.config import SettingError
from resight.features.local.settings import LocalSettings
from resight.search.fused.verified import Extraction, Known, check_verified, hash_contents
from resight.verification.settings import VerifySettings
from resight.workspace import Run

MOMENT = datetime.fromtimestamp(0, UTC)


def make_run(build_id, job, settings, **parents):
    facts = {"sequence": 1, "started_at": MOMENT, "committed_at": MOMENT}
    return Run(
        run_id="r", job=job, build_id=build_id, name="pairs", settings=settings, parents=parents, **facts
    )


def verified_run(local="sift", **changed):
    return make_run("b", "verify-pairs", to_builtins(VerifySettings()) | changed, local_descriptors=local)


def make_builds(**changed):
    """Keypoints of a sample with a codebook and an index of all images, all keypoints, and others."""
    sift = to_builtins(LocalSettings())
    runs = [
        make_run("sample", "extract-local-features", sift | {"sample": 9}),
        make_run("sift", "extract-local-features", sift),
        make_run("other", "extract-local-features", sift | changed),
        make_run("words", "fit-model", {}, local_descriptors="sample"),
        make_run("index", "build-index", {}, models="words"),
    ]
    return {run.build_id: run for run in runs}


@pytest.mark.parametrize("used", [{"ratio": 0.8}, {"model": "homography"}, {"words": "words"}])
def test_pairs_that_were_verified_in_another_way_are_refused(used):
    builds = make_builds()
    extraction = Extraction(builds["words"], "")
    for local in ("sample", "sift", "index", "other"):
        check_verified(verified_run(local), VerifySettings(), extraction, builds)
    with pytest.raises(SettingError, match=f"verified: 'pairs' .*{next(iter(used))}"):
        check_verified(verified_run(**used), VerifySettings(), extraction, builds)


@pytest.mark.parametrize(
    ("changed", "sha256", "message"),
    [
        ({"extractor": "disk"}, "", "'extractor': 'disk'"),
        ({"max_keypoints": 300}, "", "'max_keypoints': 300"),
        ({}, "abc", "'weights': ''"),
    ],
)
def test_pairs_of_keypoints_of_another_extractor_are_refused(changed, sha256, message):
    builds = make_builds(**changed)
    with pytest.raises(SettingError, match=message):
        check_verified(verified_run("other"), VerifySettings(), Extraction(builds["words"], sha256), builds)
    with pytest.raises(SettingError, match="which is gone"):
        check_verified(verified_run("gone"), VerifySettings(), Extraction(builds["words"], ""), builds)


def test_nothing_is_known_of_images_that_were_not_verified(rng):
    known = Known(np.sort(rng.choice(100, 9, replace=False)), np.arange(9) * 5)
    told = dict(zip(*(column.tolist() for column in known), strict=True))
    asked = rng.permutation(120)
    assert known.look_up(asked).tolist() == [told.get(i, -1) for i in asked.tolist()]
    empty = Known(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert empty.look_up(asked).tolist() == [-1] * 120


@pytest.mark.parametrize("length", [0, 3, 4, 8, 31, 32, 64, 77])
def test_hashes_are_64_bits_that_depend_on_every_character(length):
    text = "".join(chr(97 + i % 26) for i in range(length))
    changed = [text[:i] + "?" + text[i + 1 :] for i in range(length)]
    hashes = {hash_contents(one) for one in (text, *changed)}
    assert len(hashes) == length + 1
    assert all(-(1 << 63) <= value < 1 << 63 for value in hashes)
    assert hash_contents(text, None) == hash_contents(text) != hash_contents(text, "x")
