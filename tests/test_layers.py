"""The architecture, executed: kernels know no Spark, functions and files stay short."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "lib"
FILES = sorted((LIB / "resight").rglob("*.py"))


def test_every_folder_is_in_the_wheel():
    project = tomllib.loads((LIB.parent / "pyproject.toml").read_text())
    folders = {".".join(path.parent.relative_to(LIB).parts) for path in FILES if path.stem == "__init__"}
    assert {*project["tool"]["setuptools"]["packages"]} == folders | {"resight.jobs", "resight.conf"}


def test_kernels_import_without_spark():
    spark_side = {"spark", "store", "session", "job", "cli", "launch", "commands"}
    kernels = [
        ".".join(path.relative_to(LIB).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if path.stem not in spark_side and path.stem != "__main__"
    ]
    program = "import sys; sys.modules['pyspark'] = None; import " + ", ".join(sorted(kernels))
    subprocess.run([sys.executable, "-c", program], check=True, cwd=LIB)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIB)))
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    if path.name != "tables.py":  # a list, which is best read in one piece
        assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            n_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert n_lines <= 35, f"{node.name} has {n_lines} lines"
