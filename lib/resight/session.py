"""The Spark session: found, configured and stopped in one place.

The only module that touches Spark's own machinery (jars, ``spark-submit`` state, Java).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from pyspark.sql import SparkSession

from resight.config import SettingError

DELTA = "io.delta:delta-spark_4.2_2.13:4.4.0"  # 4.4.1 has no published jars
NEEDED_JARS = ("io.delta_delta-", "io.unitycatalog_unitycatalog-")  # the rest is part of pyspark
JAVA_HELP = (
    "Java 17 or 21 was not found. Install it and run this again: "
    "apt-get install openjdk-17-jre-headless (Debian, Ubuntu), brew install openjdk@17 (macOS)."
)
DEFAULTS = {
    "spark.master": "local[*,4]",  # four attempts per task, as on a cluster
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.python.daemon.module": "resight.workers.spark",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "3s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "2",
}


def start_session(settings: Mapping[str, str] | None = None) -> SparkSession:
    """Start a session, or take the running one (spark-submit, a notebook, Spark Connect).

    ``settings`` override `DEFAULTS`. Settings of an outer ``spark-submit`` win over the defaults.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    remote = os.environ.get("SPARK_REMOTE", "")
    builder = SparkSession.builder.appName("resight")
    if remote.startswith("sc://"):  # a server with settings of its own
        return builder.remote(remote).getOrCreate()
    check_java()
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # launched by spark-submit
    chosen = ({} if submitted else DEFAULTS) | dict(settings or {})
    if not submitted:
        if "spark.jars.packages" not in chosen:
            chosen.setdefault("spark.jars", ",".join(find_delta_jars()))
        options = chosen.get("spark.driver.extraJavaOptions", "")
        chosen["spark.driver.extraJavaOptions"] = f"{options} {quiet_option()}".strip()
    if remote:  # local[N]: a Spark Connect server in this process
        chosen.pop("spark.master", None)
        builder = builder.remote(remote)
    for key, value in chosen.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def quiet_option() -> str:
    """Give the Java option that keeps Spark's log to what went wrong."""
    folder = files("resight.conf") / "spark" / "log4j2.properties"
    return f"-Dlog4j2.configurationFile=file:{folder}"


def read_spark_conf(file: Path) -> dict[str, str]:
    """Read a ``spark-defaults.conf`` style file: one ``key value`` per line, ``#`` comments."""
    if not file.is_file():
        raise SettingError(f"--spark-conf: no such file: {file}")
    pairs = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        words = re.split(r"[\s=]+", line.strip(), maxsplit=1)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if len(words) != 2:
            raise SettingError(f"--spark-conf: {file}: not 'key value': {line!r}")
        pairs[words[0]] = words[1].strip()
    return pairs


def check_java() -> None:
    """Raise `SettingError` with the command that installs Java where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not java or not shutil.which(java):
        raise SettingError(JAVA_HELP)
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', done.stderr)
    if done.returncode or not found or int(found[1]) < 17:
        raise SettingError(f"{java} is not Java 17 or later. {JAVA_HELP}")


def jar_folder() -> Path:
    """Where the resolved jars of Delta are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "resight" / DELTA.rsplit(":", 1)[1]


def find_delta_jars() -> list[str]:
    """List the jars of Delta, resolving them by their Maven coordinates the first time."""
    folder = jar_folder()
    if not folder.is_dir():
        resolve_delta_jars(folder)
    return sorted(str(jar) for jar in folder.glob("*.jar"))


def resolve_delta_jars(folder: Path) -> None:
    """Let Spark's own resolver fetch Delta's jars and keep the ones that pyspark lacks."""
    check_java()
    with tempfile.TemporaryDirectory() as ivy:
        command = [
            sys.executable,
            "-c",
            "from pyspark.sql import SparkSession as S; S.builder.getOrCreate().stop()",
        ]
        submit = f"--master local[1] --packages {DELTA} --conf spark.jars.ivy={ivy} pyspark-shell"
        env = os.environ | {"PYSPARK_SUBMIT_ARGS": submit}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        jars = [j for j in Path(ivy, "jars").glob("*.jar") if j.name.startswith(NEEDED_JARS)]
        if done.returncode or not jars:
            raise RuntimeError(f"cannot resolve {DELTA}:\n{done.stderr[-2000:]}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as staged:
            for jar in jars:
                shutil.copy2(jar, staged)
            complete = Path(shutil.copytree(staged, f"{staged}-complete"))
        try:
            complete.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(complete)


if __name__ == "__main__":
    find_delta_jars()
