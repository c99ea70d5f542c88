import doctest

import pytest

from resight.config import SettingError
from resight.diffusion.partitioned import slots
from resight.diffusion.partitioned.slots import check_slots


def test_the_examples_hold():
    assert doctest.testmod(slots).failed == 0


@pytest.mark.parametrize(
    ("conf", "key"),
    [
        (
            {"spark.master": "yarn", "spark.dynamicAllocation.enabled": "true"},
            "spark.dynamicAllocation.enabled",
        ),
        ({"spark.master": "local-cluster[2,1,1024]"}, "spark.master"),
        (
            {"spark.master": "k8s://x", "spark.executor.instances": "1", "spark.executor.cores": "2"},
            "spark.executor.instances",
        ),
    ],
)
def test_an_impossible_stage_names_the_setting_to_change(conf, key):
    with pytest.raises(SettingError, match=rf"^{key}: "):
        check_slots(3, conf.get)


def test_enough_or_unknown_slots_pass():
    check_slots(2, {"spark.master": "local[2,4]", "spark.dynamicAllocation.enabled": "false"}.get)
    check_slots(500, {"spark.master": "spark://host:7077"}.get)
