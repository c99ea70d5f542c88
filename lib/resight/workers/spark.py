"""The daemon of an executor: imports once what its Python workers share, then forks them.

Importing a network library costs seconds and some hundred MB in every process that does it: here it is paid
once per executor. ``RESIGHT_PRELOAD`` in the environment of the executors names further modules, separated
by commas. It must stay empty where tasks use a GPU: a process may not be forked once CUDA was asked for.
"""

import gc
import importlib
import logging
import os

from pyspark import daemon

MODULE = "spark.python.daemon.module"
PRELOAD = "RESIGHT_PRELOAD"
SHARED = ("numpy", "pandas", "pyarrow.parquet", "pyspark.worker", "pyspark.sql.pandas.serializers")


def preload(named: str) -> list[str]:
    """Import what all workers need and the modules that ``named`` lists; give the names of those imported.

    A module that cannot be imported is left out with a warning: the task that needs it says so itself.

    >>> preload("json, no_such_module")[-1]
    'json'
    """
    done = []
    for name in (*SHARED, *filter(None, (word.strip() for word in named.split(",")))):
        try:
            importlib.import_module(name)
            done.append(name)
        except ImportError as error:
            logging.getLogger("resight").warning("%s names %s: %s", PRELOAD, name, error)
    gc.freeze()  # or the first collection in a worker would copy all of it
    return done


if __name__ == "__main__":
    preload(os.environ.get(PRELOAD, ""))
    daemon.manager()
