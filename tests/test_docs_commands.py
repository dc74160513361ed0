"""Every command in the documentation is one that there is, and runs: here on small sources.

A training takes two steps of five faces, and a report trains each of its models so long.
"""

import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import layouts
import numpy as np
import pytest
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.commands import parse

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "saved_models" / "README.md", *(ROOT / "docs").rglob("*.md")]
BLOCK = re.compile(r"(?:^ {4}.*\n)+|^```bash\n(?:.*\n)*?```", re.M)
OTHER_BLOCK = re.compile(r"```(?!bash)(?:.*\n)*?```")
COMMAND = re.compile(r"^ *(?:\w+=\S+ |srun |taskset -c \d )*((?:keras-faces|python) .+)$", re.M)
INLINE = re.compile(r"`((?:keras-faces|python) (?:[^`\n]|\n(?!\n))+)`")

# What stands in the documentation for something of the reader's.
STANDS_FOR = {
    "RUN": "runs/vae-photos-001",
    "CVAE-RUN": "cvae-orl-64",
    "DCGAN-RUN": "dcgan-orl-64",
    "CYCLEGAN-RUN": "cyclegan-orl-64",
    "NAME-orl-64": "vae-orl-64",
    "saved_models/NAME": "vae-orl-64",
    "NAME": "celeba:celeba",
    "MODEL": "vae",
    "REPORT": "sfu-figures",
    "SOURCE": "photos",
    "YOURS": "photos",
    "DIR": "sketched",
    "/shared/celeba": "celeba",
    "$format": "onnx",
    "$w": "int8",
}
NOT_RUN = {  # and where it is tested instead
    "keras-faces serve": "waits for visitors: tests/test_app.py",
    r"s3://|https?://|hf://": "a network: tests/test_sources.py, tests/test_hub.py",
    "tfds:": "tests/test_tfds.py",
    "partition=sfu": "10,000 pictures by name: tests/test_celeba.py",
    r"clip:|dinov2:": "an encoder of the reader's: tests/test_backbone.py",
    r"/shared/|\$SLURM|\$\{WORDS": "a cluster: tests/test_distribution.py",
    r"--all-devices": "several devices: tests/test_devices.py, tests/test_distribution.py",
    r"skyline|sky\.mp4|sfu-figure6": "its video: below",
    r"reproduce \w+\.toml": "tests/test_comparisons.py",
    "evaluate vaegan-sketch": "what a training of minutes left: tests/test_matching.py",
    r"python (?!-c)": "minutes, or another machine; its script and flags are looked for",
}
# What takes less than a second or two.
QUICK = (
    r"--help|keras-faces (list|data info \S+$|data (attributes|people)|compare|--print|generate)"
)
SCORED_BY_REPORTS = " --best face_detection_rate --score-every 10"
WITH_DENSE = (
    "sfu-figures",
    "equal-protocol",
)  # reports of the dense VAE, too, which has no filters
LENGTHS = ("--minutes", "--epochs", "--steps", "--count", "--batch-size")


def commands_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(BLOCK.findall(OTHER_BLOCK.sub("", text)))
    # A sentence may name a part of a command; two words do.
    prose = INLINE.findall(re.sub(r"^```(?:.*\n)*?```", "", text, flags=re.M))
    inline = [found for found in prose if len(found.split()) > 2 and page.name != "README.md"]
    return [" ".join(shlex.split(c, comments=True, posix=False)) for c in [*found(blocks), *inline]]


def found(blocks: str) -> list[str]:
    return [re.split(r" >>? | &$|; done", command)[0] for command in COMMAND.findall(blocks)]


def words_of(command: str) -> list[list[str]]:
    """The words after `keras-faces`, once for each of choices such as `info|check|prepare`."""
    words = [
        re.sub(r"(\w+):PATH", r"\1:\1", STANDS_FOR.get(word, word))
        for word in shlex.split(command)[1:]
    ]
    run = STANDS_FOR["RUN"]
    if words[0] == "translate":
        words = ["cyclegan-orl-64" if word == run else word for word in words]
    elif words[0] in ("attribute", "generate") and {"--conditions", "--by"} & set(words):
        words = ["cvae-orl-64" if word == run else word for word in words]
    elif words[0] == "resume":
        words[1] = "runs/stopped"
    elif words[:2] == ["reproduce", "mine.toml"]:
        words[1] = "kl.toml"
    elif words[0] == "evaluate":
        words[1] = {"cyclegan": "cyclegan-orl-64", "vaegan-sketch": "vaegan-orl-64"}.get(
            words[1], words[1]
        )
    elif words[:2] == ["data", "sketches"]:
        place = words.index("--out") + 1
        words[place] += "-drawn"
    made = [[]]
    for word in words:
        choices = word.split("|") if re.fullmatch(r"\w+(\|\w+)+", word) else [word]
        made = [[*start, choice] for start in made for choice in choices]
    return made


def small(words: list[str]) -> tuple[str, ...]:
    """The words of a command that takes less time."""
    words = shlex.split(shlex.join(words).replace(SCORED_BY_REPORTS, ""))
    kept = [
        word
        for before, word in zip([None, *words], words)
        if not {before, word} & {*LENGTHS, "--seed"} or words[0] not in ("train", "evaluate")
    ]
    if words[0] == "train" and "--help" not in words:
        return (*kept, "--steps", "2", "--count", "0", "--batch-size", "5")
    if words[0] == "resume":
        return (*kept, "--steps", "3")
    if words[0] == "reproduce":
        return tuple(kept[:2])
    if words[0] == "evaluate":
        return (*kept, "--count", "20")
    return tuple(re.sub("^1000?$", "20", word) for word in kept)


ALL = list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))
OURS = [command for command in ALL if command.startswith("keras-faces")]
SCRIPTS = [command for command in ALL if re.match("python [^-]", command)]
RUN = [command for command in ALL if not any(re.search(what, command) for what in NOT_RUN)]
# Each once, however often it is written, by what becomes of it here.
ONCE = {
    str([small(words) for words in words_of(command)]): command
    for command in reversed(RUN)
    if command in OURS
}
QUICKLY = [command for command in ONCE.values() if re.search(QUICK, command)]


def test_the_documentation_has_commands_and_those_that_are_not_run_are_among_them():
    assert len(OURS) > 150 and len(SCRIPTS) > 5 and len(QUICKLY) > 20
    for what in NOT_RUN:
        assert any(re.search(what, command) for command in ALL), what


@pytest.mark.parametrize("command", [command for command in OURS if "WORDS" not in command])
def test_a_command_in_the_documentation_has_these_flags(command, desk):
    for words in words_of(command.replace("generate hf://USER/MODEL", "generate vae-orl-64")):
        parse(words)


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_script_in_the_documentation_has_these_flags(command):
    _, script, *words = shlex.split(command)
    text = (ROOT / script).read_text(encoding="utf-8")
    for flag in (word for word in words if word.startswith("--")):
        assert f'"{flag}"' in text


@pytest.mark.parametrize("command", [command for command in ALL if command.startswith("python -c")])
def test_a_calculation_in_the_documentation_gives_what_stands_before_it(command, capsys):
    exec(shlex.split(command)[2], {})
    result = float(capsys.readouterr().out)
    [line] = [
        line
        for line in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").splitlines()
        if command in line
    ]
    stated = float(re.search(r"[\d.]+", line.split("|")[2])[0])
    assert result == pytest.approx(stated, rel=0.05)


@pytest.mark.parametrize("command", QUICKLY)
def test_a_command_in_the_documentation_runs(command, desk):
    run(command)


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in ONCE.values() if c not in QUICKLY])
def test_a_command_in_the_documentation_that_takes_its_time_runs(command, desk):
    run(command)


@pytest.mark.slow
def test_the_skyline_in_the_documentation_is_drawn_and_learnt_from(desk):
    [script] = [command for command in SCRIPTS if "skyline.py" in command]
    [report] = [command for command in OURS if "sfu-figure6 --data" in command]
    _, path, video = shlex.split(script)
    subprocess.run([sys.executable, ROOT / path, video], check=True)
    given = {"data": shlex.split(report)[-1], "steps": 2, "batch_size": 20, "count": 20}
    kf.reproduce("sfu-figure6", print_fn=lambda line: None, **given)
    assert (desk / "reports" / "sfu-figure6" / "report.html").is_file()


@pytest.mark.slow
def test_the_model_that_the_documentation_writes_trains_and_loads(desk):
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    [block] = [b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "HingeGAN" in b]
    quick = block.replace("minutes=5, filters=16", "steps=2, count=0, image_size=32, filters=2")
    assert quick != block
    (desk / "script.py").write_text(quick)
    try:
        names = runpy.run_path(str(desk / "script.py"), run_name="script")
    finally:
        kf.models.MODELS.pop("hinge", None)
    assert names["pictures"].shape == (64, 32, 32, 1)


def run(command: str) -> None:
    for words in map(small, words_of(command)):
        if words[0] == "reproduce":
            tiny = {"steps": 2, "batch_size": 20, "score_every": 1}
            if words[1] not in WITH_DENSE:
                tiny["filters"] = 2
            kf.reproduce(words[1], count=20, print_fn=lambda line: None, **tiny)
            continue
        if words[0] == "resume":
            shutil.rmtree(words[1])
            main(["train", "autoencoder", "--steps", "2", "--count", "0", "--run", words[1]])
        assert main([place for word in words for place in _places(word)]) == 0


def _places(word: str) -> list[str]:
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.fixture(scope="session")
def materials(tmp_path_factory, orl_path) -> Path:
    """A folder with all that the documentation's commands are given."""
    desk = tmp_path_factory.mktemp("desk")
    for model in (ROOT / "saved_models").iterdir():
        if model.is_dir():
            shutil.copytree(model, desk / "saved_models" / model.name)
    vae, gan = (desk / "saved_models" / name for name in ("vae-orl-64", "gan-orl-64"))
    for name in ("vae-photos-001", "vae-orl-001", "vae-0", "vae-1", "vae-2", "stopped"):
        shutil.copytree(vae, desk / "runs" / name)
    for name in ("gan-0", "gan-1"):
        shutil.copytree(gan, desk / "runs" / name)
    shutil.copy(vae / "scores.json", desk / "vae-0.json")
    shutil.copy(gan / "scores.json", desk / "gan-0.json")
    for person in orl_path.glob("s*"):
        shutil.copytree(person, desk / person.name)
    pictures(desk)
    sources(desk)
    texts(desk)
    return desk


def pictures(desk: Path) -> None:
    for name in (
        "photo.jpg",
        "one.jpg",
        "two.jpg",
        "other.jpg",
        "other.png",
        "face.png",
        "sketch.jpg",
    ):
        layouts.write({name: layouts.face(len(name), 92, 112, _kind(name))}, desk)
    for number in range(12):
        photo = Image.linear_gradient("L").resize((480, 360)).convert("RGB")
        photo.paste(Image.open(io.BytesIO(layouts.face(10 * number, 180, 219))), (150, 60))
        (desk / "photos").mkdir(exist_ok=True)
        photo.save(desk / "photos" / f"{number}.jpg", quality=95)


def _kind(name: str) -> str:
    return {"jpg": "JPEG", "png": "PNG"}[name.rpartition(".")[2]]


def sources(desk: Path) -> None:
    layouts.celeba_folder(desk / "celeba")
    layouts.celeba_folder(desk / "CelebA")
    layouts.write(layouts.celeba_texts(), desk)
    numbers = range(12)
    faces = {f"{k // 4:07d}/{k:03d}.jpg": layouts.face(7 * k, 112, 112) for k in numbers}
    layouts.write(faces, desk / "casia")
    layouts.zipped(faces, desk / "faces.zip")
    utkface = layouts.utkface_pictures()
    layouts.write(utkface, desk / "utkface")
    for name in ("FACES.zip", "UTKFace.zip"):
        layouts.zipped(utkface, desk / name)
    for side in ("photos", "sketches"):
        pairs = {f"{side}/{k}/1.png": layouts.face(10 * k, 92, 112, "PNG") for k in numbers}
        layouts.write(pairs, desk / "cufs")
        layouts.write(pairs, desk / "orl-pairs")
    (desk / "shards").mkdir()
    members = {f"{k}.jpg": face for k, face in enumerate(faces.values())}
    members |= {f"{k}.cls": str(k // 4).encode() for k in numbers}
    layouts.tarred(dict(sorted(members.items())), desk / "shards" / "0.tar")
    grey = np.random.default_rng(0).integers(0, 256, (12, 32, 32), np.uint8)
    np.savez(desk / "faces.npz", x=grey, y=np.arange(12) // 4)
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (desk / "faces").mkdir()
    columns = {"photo": [*faces.values()], "who": [k // 4 for k in numbers]}
    parquet.write_table(pyarrow.table(columns), desk / "faces" / "0.parquet")
    av = pytest.importorskip("av")
    with av.open(str(desk / "walk.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
        for name in sorted((desk / "photos").iterdir()):
            for _ in range(10):
                file.mux(stream.encode(av.VideoFrame.from_image(Image.open(name))))
        file.mux(stream.encode(None))


def texts(desk: Path) -> None:
    """The files that the documentation writes out."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    [training] = re.findall(r"```yaml\n(.*?)```", page, re.S)
    [mine] = re.findall(r"```toml\n(.*?)```", page, re.S)
    (desk / "training.yaml").write_text(training)
    (desk / "mine.toml").write_text(mine)
    comparison = (ROOT / "docs" / "comparisons.md").read_text(encoding="utf-8")
    (desk / "kl.toml").write_text(re.findall(r"```toml\n(.*?)```", comparison, re.S)[0])


@pytest.fixture
def desk(materials, monkeypatch) -> Path:
    monkeypatch.chdir(materials)
    monkeypatch.setenv("HOME", str(materials))
    return materials
