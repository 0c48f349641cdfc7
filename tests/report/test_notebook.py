"""`trapmid.audit_model` in notebooks: bars that are drawn again in one place, and the report at the end.

It needs packages that nothing else here needs, and is left out without them: `uv run --group notebooks pytest -m slow
tests/report/test_notebook.py`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "audit_a_model.ipynb"

CELLS = (
    """
import sys
sys.path[:0] = [{tests!r}]
import timm, torch
from PIL import Image
from safetensors.torch import save_file
from helpers.patterns import patterns

people = patterns(5, 4)
for images, folder in ((people, "private"), (patterns(6, 4, first=900), "public")):
    for pixels, label, name in zip(images.pixels, images.labels.tolist(), images.origins):
        place = Path(folder) / images.identities[label] / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place)
torch.manual_seed(0)
save_file(timm.create_model("test_vit").state_dict(), "vit.safetensors")

class Colours(torch.nn.Module):
    means = torch.stack([people.images(people.of_identity(n)).mean((0, 2, 3)) for n in range(5)])
    def forward(self, images):
        return -200 * (images.mean((2, 3))[:, None] - self.means).square().sum(-1)
""",
    """
import trapmid
report = trapmid.audit_model(
    Colours(), "private", "public", image_size=32, attacks=("public-nearest",), out="run",
    judge="timm:test_vit", judge_weights="vit.safetensors", compute=Compute("cpu"),
)
""",
    "report.show()",
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nbformat() -> Any:
    for package in ("nbclient", "ipykernel", "ipywidgets"):
        pytest.importorskip(package)
    return pytest.importorskip("nbformat")


def execute(notebook: Any, folder: Path) -> None:
    """Runs a notebook in a folder, with this Python, and fills in its outputs."""
    import nbclient

    kernel = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
    place = folder / "kernels" / "here"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(kernel | {"display_name": "here"}), encoding="utf-8")
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="here", resources={"metadata": {"path": str(folder)}}
    )
    client.km = client.create_kernel_manager()
    client.km.kernel_spec_manager.kernel_dirs.insert(0, str(folder / "kernels"))
    client.execute()


def bars(cell: Any) -> list[Any]:
    return [one for one in cell.outputs if "application/vnd.jupyter.widget-view+json" in one.get("data", {})]


def said(cell: Any) -> str:
    return "".join(one.text for one in cell.outputs if one.output_type == "stream")


def test_an_audit_in_a_notebook(nbformat: Any, tmp_path: Path) -> None:
    first = "from pathlib import Path\nfrom trapmid.engine import Compute\n" + CELLS[0].format(
        tests=str(Path(__file__).parents[1])
    )
    notebook: Any = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in (first, *CELLS[1:])]
    )
    execute(notebook, tmp_path)
    _, audited, shown = notebook.cells
    assert len(bars(audited)) == 1
    assert len(audited.outputs) <= 3
    assert len(said(audited).splitlines()) < 10, said(audited)
    (frame,) = shown.outputs
    assert frame.data["text/html"].startswith("<iframe srcdoc=")


def test_the_notebook_of_the_examples_runs_and_keeps_no_outputs(nbformat: Any, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = {cell.id: cell for cell in notebook.cells}
    assert [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
    execute(notebook, tmp_path)
    assert len(bars(cells["audit"])) == 1
    (frame,) = cells["report"].outputs
    assert frame.data["text/html"].startswith("<iframe srcdoc=")
    assert (tmp_path / "audit" / "report.html").is_file()
    named = {line.split()[0] for line in said(cells["scores"]).splitlines()}
    assert named == {"plgmi", "public-nearest", "real", "public", "prior:cgan"}
