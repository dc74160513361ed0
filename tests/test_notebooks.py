"""The notebooks, as they are stored, and run from top to bottom with numbers that take seconds."""

import base64
import importlib.util
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

import keras_faces as kf

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))

# Of this computer, or of any on which they may have been run; "/path/to" is for the reader.
OF_A_MACHINE = re.compile(
    r"/(tmp|home|root|usr|opt|var|mnt|work|content|Users)/|[A-Z]:\\|\b0x\w{6}"
)


@pytest.fixture(scope="module")
def runner():
    """The module `notebooks/execute.py`, which lies in no package."""
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell):
    """The pictures that a cell shows, as arrays."""
    found = [output["data"]["image/png"] for output in cell.outputs if "data" in output]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def text(cell):
    """What a cell prints."""
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")


def kinds(notebook):
    """How many pictures each code cell shows, and whether it prints."""
    return [(len(pictures(cell)), bool(text(cell))) for cell in code_cells(notebook)]


def test_there_is_one_for_each_document_three_besides_and_the_readme_names_all():
    assert NAMES == [
        "gruber_vaegan",
        "report_vae_gan_vaegan",
        "research",
        "simon_fraser",
        "slides_cyclegan",
        "start_here",
        "your_own_faces",
        "zhang_began",
    ]
    readme = (ROOT / "README.md").read_text()
    assert [name for name in NAMES if f"(notebooks/{name}.ipynb)" not in readme] == []


@pytest.mark.parametrize("name", NAMES)
def test_runs_with_small_numbers_and_shows_all_that_is_stored(name, runner, tmp_path):
    small = {"IMAGE_SIZE": 32, "EPOCHS": 2, "SCORED": 12, "PHOTOGRAPHS": 12}
    given = {
        parameter: 2 if parameter.endswith("STEPS") else small[parameter]
        for parameter in runner.parameters_of(FOLDER / f"{name}.ipynb")
        if parameter not in ("SOURCE", "FACES", "TRAINED")
    }
    notebook = runner.execute(FOLDER / f"{name}.ipynb", tmp_path, given)
    assert kinds(notebook) == kinds(read(name))
    shown = [picture for cell in code_cells(notebook) for picture in pictures(cell)]
    assert min(min(picture.shape[:2]) for picture in shown) > 32
    assert min(picture.std() for picture in shown) > 2  # none is blank
    saved = {"start_here": ("vae.keras", 64), "your_own_faces": ("my_faces.keras", 32)}.get(name)
    if saved:
        file, size = saved  # start_here saves the project's model
        assert kf.load_model(tmp_path / file).generate(2).shape == (2, size, size, 1)


@pytest.mark.parametrize("name", NAMES)
def test_is_stored_as_it_ran_from_top_to_bottom(name):
    path, notebook = FOLDER / f"{name}.ipynb", read(name)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size < 600_000
    assert sum(len(pictures(cell)) for cell in cells) >= 4
    for cell in cells:
        assert "execution" not in cell.metadata
        for output in cell.outputs:
            assert output.output_type in ("stream", "display_data", "execute_result")
            assert output.get("name", "stdout") == "stdout"
        assert not OF_A_MACHINE.search(text(cell) + cell.source)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("name", NAMES)
def test_says_on_top_what_to_expect_and_how_to_open_it_elsewhere(name):
    cells = read(name).cells
    top = cells[0].source
    assert re.search(r"\*\*Time\*\*: about \d+ minutes", top)
    assert "**Result**: " in top and "**In Colab**: " in top
    assert "](https://colab.research.google.com/assets/colab-badge.svg)]" in top
    assert "%pip install" in cells[1].source and "find_spec" in cells[1].source
    assert "GPU" in text(cells[1])
    assert re.search(r'^SOURCE = "\w+"', cells[3].source, re.M)


@pytest.mark.parametrize("name", NAMES)
def test_shows_its_model_its_loss_beside_the_code_and_what_goes_wrong(name):
    notebook = read(name)
    written = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    drawings = [cell for cell in code_cells(notebook) if "plot_networks(" in cell.source]
    assert drawings and all(pictures(cell) for cell in drawings)
    assert any("Trainable params" in text(cell) for cell in code_cells(notebook))
    beside = [
        number
        for number, cell in enumerate(notebook.cells)
        if "inspect.getsource" in cell.source and "def losses(self" in text(cell)
    ]
    assert beside and all("$$" in notebook.cells[number - 1].source for number in beside)
    assert "**What to look at**" in written and "What goes wrong" in written


@pytest.mark.parametrize("name", NAMES)
def test_ends_with_three_exercises_and_their_answers_folded_below(name):
    exercises, answers = read(name).cells[-1].source.split("<details><summary>Answers</summary>")
    for numbered in (exercises.partition("## Exercises")[2], answers):
        assert re.findall(r"^(\d)\. ", numbered, re.M) == ["1", "2", "3"]
    assert answers.rstrip().endswith("</details>")


@pytest.mark.parametrize("name", NAMES)
def test_code_that_is_shown_is_that_of_today(name):
    sources = "".join(path.read_text() for path in (ROOT / "keras_faces").rglob("*.py"))
    shown = [
        part.strip()
        for cell in code_cells(read(name))
        if "inspect.getsource" in cell.source
        for part in re.split(r"\n\n+(?=    def |def |class |@)", text(cell))
        if re.match(r" *(def|class) |@", part)
    ]
    assert shown
    assert [part for part in shown if part not in sources] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_and_commands_within_the_project_lead_somewhere(name):
    written = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)\s]+)\)", written)
    links = [link for link in links if "://" not in link]
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []
    for recipe in re.findall(r"--recipe ([\w-]+)", written):
        assert recipe in kf.list_recipes()
    for report in re.findall(r"keras-faces reproduce ([\w-]+)(?![\w.-])", written):
        assert report in kf.list_reports()


def test_numbers_given_take_the_place_of_those_in_the_cell_parameters(runner, tmp_path):
    notebook = nbformat.v4.new_notebook()
    given = nbformat.v4.new_code_cell("STEPS = 1000\nSOURCE = 'orl'")
    given.metadata["tags"] = ["parameters"]
    notebook.cells = [given, nbformat.v4.new_code_cell("print(STEPS, SOURCE)")]
    path = tmp_path / "own.ipynb"
    nbformat.write(notebook, path)
    done = runner.execute(path, tmp_path, {"STEPS": 3})
    assert text(done.cells[1]) == "3 orl\n"
    assert done.cells[0].source == given.source
    with pytest.raises(ValueError, match=r"own.ipynb has no parameter EPOCH"):
        runner.execute(path, tmp_path, {"EPOCH": 3})


def as_png(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def test_what_is_kept_of_outputs_is_for_readers(runner):
    cell = nbformat.v4.new_code_cell("1")
    drawn = as_png(Image.new("L", (4, 4)))
    picture = {"image/png": drawn, "image/jpeg": "BBBB", "text/plain": "<PIL.Image>"}
    cell.metadata["execution"] = {"iopub.execute_input": "2020"}
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="Training 10%"),
        nbformat.v4.new_output("stream", name="stdout", text="done"),
        nbformat.v4.new_output("display_data", {"text/html": "<pre></pre>", "text/plain": ""}),
        nbformat.v4.new_output("display_data", picture, metadata={"width": 10}),
    ]
    tidied = runner.tidied(nbformat.v4.new_notebook(cells=[cell])).cells[0]
    assert [output.output_type for output in tidied.outputs] == ["stream", "display_data"]
    assert list(tidied.outputs[1].data) == ["image/png"]
    assert "execution" not in tidied.metadata


def test_pictures_are_stored_small_and_look_the_same(runner):
    rng = np.random.default_rng(0)
    grey, colour = (
        rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((64, 64), (64, 64, 3))
    )
    stored = runner.smaller(as_png(Image.fromarray(grey)))
    assert len(stored) < len(as_png(Image.fromarray(grey)))
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(stored))))
    assert np.abs(seen.astype(int) - grey).max() <= 4
    assert {seen.min(), seen.max()} == {0, 255}
    stored = runner.smaller(as_png(Image.fromarray(colour)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(stored)))), colour)
