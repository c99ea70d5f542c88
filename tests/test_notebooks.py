"""The notebooks, executed: on a workspace with everything in it, and on one with photos only."""

import os
from pathlib import Path

import jupyter_client
import nbclient
import nbformat
import pytest

from resight.tables import IMAGES, PREVIEWS, SOURCES
from tests.looked import commit_all
from tests.report.committed import Committed

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FIGURES = {  # that a notebook draws on a workspace with everything in it, at least
    "01_index": 7,
    "02_search": 6,
    "03_duplicates": 8,
    "04_mined_pairs": 6,
    "05_objects": 6,
    "06_training": 4,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return commit_all(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    made = Committed(tmp_path_factory.mktemp("bare"))
    rows = {"image_id": [1], "uri": ["a.jpg"], "status": ["ok"], "n_bytes": [3]}
    jpegs = {"image_id": [1], "jpeg": [b"no picture"]}
    made.commit("ingest-images", (IMAGES, rows), (PREVIEWS, jpegs), (SOURCES, {"source_id": []}))
    return made.workspace.root


@pytest.fixture(scope="module")
def kernel():
    manager = jupyter_client.KernelManager(kernel_name="python3")
    manager.start_kernel(env=os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"})
    yield manager
    manager.shutdown_kernel(now=True)


def run(path, kernel, workspace, **named):
    """Execute a notebook in a kernel without variables; give the types and texts of its outputs."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    settings = {"RESIGHT_WORKSPACE": workspace} | named
    words = f"get_ipython().reset(); import os; os.environ.update({settings!r}); del os"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(words))
    nbclient.NotebookClient(notebook, km=kernel, timeout=120).execute()
    outputs = [output for cell in notebook.cells[1:] for output in cell.get("outputs", [])]
    assert {output.output_type for output in outputs} == {"execute_result"}
    return [output.data for output in outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_draws_its_figures(path, kernel, whole):
    outputs = run(path, kernel, whole, RESIGHT_BEFORE="before", RESIGHT_AFTER="after")
    assert sum("image/png" in data for data in outputs) >= FIGURES[path.stem]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_the_jobs_whose_tables_are_absent(path, kernel, bare):
    outputs = run(path, kernel, bare)
    sentences = [data["text/markdown"] for data in outputs if "text/markdown" in data]
    assert any("`resight " in words for words in sentences)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs_and_in_short_cells(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert len(cell.source.splitlines()) <= 8
