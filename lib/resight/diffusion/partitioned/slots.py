"""Whether a barrier stage of some ranks can run, as far as Spark's settings say."""

import os
import re
from collections.abc import Callable

from resight.config import SettingError

Lookup = Callable[[str], str | None]  # a key of Spark's settings to its value, None where it is not set


def count_slots(conf: Lookup) -> int | None:
    """Count the tasks that a barrier stage can run at the same time; None where the settings do not say.

    >>> count_slots({"spark.master": "local[4,2]", "spark.task.cpus": "2"}.get)
    2
    >>> count_slots({"spark.master": "local-cluster[2,3,1024]"}.get)
    6
    >>> executors = {"spark.executor.instances": "5", "spark.executor.cores": "4"}
    >>> count_slots(({"spark.master": "yarn"} | executors).get)
    20
    >>> count_slots({"spark.master": "spark://host:7077"}.get) is None
    True
    >>> count_slots({"spark.master": "yarn", "spark.dynamicAllocation.enabled": "true"}.get)
    0
    """
    if is_dynamic(conf):
        return 0  # Spark refuses barrier stages then
    master, each = conf("spark.master") or "", int(conf("spark.task.cpus") or 1)
    if master == "local":
        return 1 // each
    found = re.fullmatch(r"local\[(\d+|\*)(?:,.*)?\]", master)
    if found:
        return (os.cpu_count() or 1 if found[1] == "*" else int(found[1])) // each
    found = re.fullmatch(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,.*\]", master)
    if found:
        return int(found[1]) * (int(found[2]) // each)
    executors, cores = conf("spark.executor.instances"), conf("spark.executor.cores")
    return int(executors) * (int(cores) // each) if executors and cores else None


def is_dynamic(conf: Lookup) -> bool:
    """Whether executors come and go."""
    return (conf("spark.dynamicAllocation.enabled") or "").lower() == "true"


def check_slots(n_ranks: int, conf: Lookup) -> None:
    """Say which setting to change where ``n_ranks`` cannot run together.

    Raises
    ------
    SettingError
        Dynamic allocation is on, or the slots are known and too few.

    >>> check_slots(3, {"spark.master": "local[2]"}.get)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    resight.config.SettingError: spark.master: 3 parts need 3 slots at the same time, there are 2; ...
    """
    if is_dynamic(conf):
        raise SettingError(
            "spark.dynamicAllocation.enabled: a barrier stage cannot run under dynamic allocation; set it to "
            "false and spark.executor.instances to the number of machines"
        )
    n_slots = count_slots(conf)
    if n_slots is not None and n_slots < n_ranks:
        raise SettingError(too_few(n_ranks, n_slots, conf("spark.master") or ""))


def too_few(n_ranks: int, n_slots: int | None, master: str) -> str:
    """Say what to change where there are too few slots."""
    key = "spark.master" if master.startswith("local") else "spark.executor.instances"
    there = "fewer are free" if n_slots is None else f"there are {n_slots}"
    return (
        f"{key}: {n_ranks} parts need {n_ranks} slots at the same time, {there}; give more executors or "
        "cores (spark.executor.instances, spark.executor.cores), or write the graph in fewer parts"
    )
