from datetime import UTC, datetime

import numpy as np
import pytest
from msgspec import to_builtins

from resight.config import SettingError
from resight.search.fused.verified import Known, check_verified, hash_contents
from resight.verification.settings import VerifySettings
from resight.workspace import Run

MOMENT = datetime.fromtimestamp(0, UTC)


def make_run(**changed):
    settings = to_builtins(VerifySettings()) | changed
    facts = {"sequence": 1, "started_at": MOMENT, "committed_at": MOMENT}
    return Run(run_id="r", job="verify-pairs", build_id="b", name="pairs", settings=settings, **facts)


@pytest.mark.parametrize("used", [{"ratio": 0.8}, {"model": "homography"}, {"words": "words"}])
def test_pairs_that_were_verified_in_another_way_are_refused(used):
    check_verified(make_run(), VerifySettings())
    with pytest.raises(SettingError, match=f"verified: 'pairs' .*{next(iter(used))}"):
        check_verified(make_run(**used), VerifySettings())


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
