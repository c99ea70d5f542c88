"""Open a workspace for the command line: checked first, Spark started only when a job needs it."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from resight.config import Config
from resight.store import TableStore
from resight.workspace import Workspace

OUTER = ("SPARK_REMOTE", "PYSPARK_GATEWAY_PORT", "PYSPARK_SUBMIT_ARGS", "SPARK_CONF_DIR", "SPARK_HOME")


def check_early(conf: Config, parsed: argparse.Namespace) -> None:
    """Check settings as far as that can be done before Spark starts; `SettingError` names the key.

    The properties of the session are known unless something outside gives it more (`OUTER`).
    """
    from resight.session import read_spark_conf

    conf.check()
    if not any(name in os.environ for name in OUTER):
        conf.check_spark(read_spark_conf(parsed.spark_conf) if parsed.spark_conf else {})


@contextmanager
def open_store(
    parsed: argparse.Namespace, confs: Sequence[Config], *, create: bool = False
) -> Iterator[TableStore]:
    """Give a store whose session starts lazily and is stopped at the end if it was started here.

    The session's Python workers begin with what the jobs of ``confs`` need.
    """
    from resight.session import read_spark_conf, start_session

    settings = read_spark_conf(parsed.spark_conf) if parsed.spark_conf else {}
    modules = sorted({name for conf in confs for name in conf.preload})
    if modules and "spark.task.resource.gpu.amount" not in settings:  # no fork once CUDA was asked for
        settings = {"spark.executorEnv.RESIGHT_PRELOAD": ",".join(modules)} | settings
    if not sys.stderr.isatty():
        settings = {"spark.ui.showConsoleProgress": "false"} | settings
    workspace = Workspace.open(parsed.workspace, parsed.format, create=create)
    started: list[Any] = []

    def start() -> Any:
        started.append(start_session(settings))
        return started[0]

    try:
        yield TableStore(workspace, start)
    finally:
        if started and "SPARK_REMOTE" not in os.environ:
            started[0].stop()
