"""Runs the notebooks beside this file, from top to bottom.

    python notebooks/execute.py              # all, in full: their pictures are stored in the files
    python notebooks/execute.py NAME ...     # some

The tests run them too, with the small numbers that they give for those in the cell `parameters`.
"""

import argparse
import base64
import io
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent


def execute(path: Path, folder: str | os.PathLike, parameters: dict | None = None):
    """Run a notebook and return it with its outputs; the file stays as it is.

    Args:
        path: The notebook.
        folder: Where it runs, and leaves what it writes.
        parameters: Values that take the place of those in the cell tagged `parameters`.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
        ValueError: If the cell does not set one of the parameters.
    """
    notebook = nbformat.read(path, as_version=4)
    given = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    plain = given.source
    for name, value in (parameters or {}).items():
        if f"\n{name} = " not in f"\n{plain}":
            raise ValueError(f"{path.name} has no parameter {name}.")
        given.source += f"\n{name} = {value!r}"
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": os.fspath(folder)}},
        record_timing=False,
    )
    client.execute()
    given.source = plain
    return tidied(notebook)


def tidied(notebook):
    """Keep of the outputs what a reader wants: no progress bars or logs, each picture once."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        # Keras's summary() leaves an empty box beside what it prints.
        cell.outputs = [
            output
            for output in cell.outputs
            if output.get("name") == "stdout" or "image/png" in output.get("data", {})
        ]
        for output in cell.outputs:
            if "data" in output:
                output.metadata.clear()
                output.data = {"image/png": smaller(output.data["image/png"])}
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def smaller(picture: str) -> str:
    """Return a PNG in base64 in fewer bytes, for the repository's sake.

    Grey pictures keep 48 greys, which takes a third off and is not seen; figures, which are the
    ones with transparency, 64 colours. Faces in colour stay as they are.
    """
    image, data = Image.open(io.BytesIO(base64.b64decode(picture))), io.BytesIO()
    if image.mode == "L":
        image = image.point(lambda grey: round(grey / 255 * 47) * 255 // 47)
    elif image.mode == "RGBA":
        image = image.convert("RGB").quantize(64)
    image.save(data, "PNG", optimize=True)
    return base64.b64encode(data.getvalue()).decode()


def core_seconds() -> float:
    """Return the processor time of all ended kernels, on which other work has little influence."""
    times = os.times()
    return times.children_user + times.children_system


def parameters_of(path: Path) -> list[str]:
    """Return the names that a notebook's cell tagged `parameters` sets."""
    notebook = nbformat.read(path, as_version=4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    return [line.split(" = ")[0] for line in cell.source.splitlines() if " = " in line]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run notebooks in full and store their pictures.")
    parser.add_argument("names", nargs="*", help="notebooks, without .ipynb; all by default")
    names = parser.parse_args().names or sorted(path.stem for path in HERE.glob("*.ipynb"))
    for name in names:
        path, began = HERE / f"{name}.ipynb", core_seconds()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, folder)
        nbformat.write(notebook, path)
        size = path.stat().st_size / 1000
        minutes = (core_seconds() - began) / 60
        print(f"{path.name}: {minutes:.1f} minutes of one core, {size:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
