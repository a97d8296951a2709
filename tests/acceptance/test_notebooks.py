"""Every notebook runs from top to bottom in a kernel of its own, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    try:
        import nbclient
        import nbformat
    except ImportError:
        message = "NO NOTEBOOK RAN: nbclient is missing. Run: pip install 'adamacs[notebooks,test]'"
        if "notebook" in os.environ.get("ADAMACS_TEST_REQUIRE", ""):
            pytest.fail(message)
        pytest.skip(message)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the notebook shows its pictures
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert not list(tmp_path.glob("adamacs-notebook-*"))


def test_notebooks_are_committed_without_output():
    import json

    assert NOTEBOOKS
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        assert not [cell for cell in cells if cell.get("outputs")], f"{path.name} holds output"
