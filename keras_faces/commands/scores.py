"""How good the faces are: `evaluate`, `compare`, `reproduce`."""

import itertools
import os

from keras_faces.commands import kinds
from keras_faces.commands.functions import without_keras
from keras_faces.commands.inputs import Drawing, RealFaces, trained_model
from keras_faces.errors import Interrupted, NotComputed, UserError, number_of
from keras_faces.screen import quoted


def evaluate(
    run: kinds.Run,
    /,
    *,
    real: RealFaces = RealFaces(),
    count: int = 1000,
    seed: int = 0,
    sampler: kinds.Sampler | None = None,
    scores: list[kinds.Score] | None = None,
    inception_weights: str | None = None,
    backbone: str | None = None,
    pairs: kinds.Picture | None = None,
    drawing: Drawing = Drawing(),
    out: str | None = None,
) -> None:
    """Score a model's faces beside real ones.

    Args:
        run: The model.
        count: Faces to generate.
        seed: Seed of the latents.
        sampler: Score only this sampler. Defaults to all.
        scores: Compute only these. Defaults to all that can be computed with what is installed.
        inception_weights: File with InceptionV3's weights.
        backbone: Image encoder for scores on its features: clip:FILE.onnx or dinov2:FILE.onnx.
        pairs: Write a picture of the samples nearest to a real face, each above that face
            (extra identity).
        out: Write the scores and their protocol to this JSON file.
    """
    from keras_faces.files import write_whole
    from keras_faces.metrics import evaluation
    from keras_faces.metrics.scores import SCORES, resolve_scores
    from keras_faces.metrics.tables import any_computed
    from keras_faces.runs import Run, find, training_of
    from keras_faces.schema import as_json

    drawing.require(pairs, "--pairs")
    chosen, given = scores, {"inception": inception_weights, "backbone": backbone}
    for need, file in given.items():
        needed = [name for name, one in SCORES.items() if one.features == need]
        if file and scores and not set(needed) & set(resolve_scores(scores)):
            flag = "--inception-weights" if need == "inception" else "--backbone"
            raise UserError(
                f"{flag} is given, but none of --scores needs it: {', '.join(scores)}. Leave it "
                f"out, or add one or more of: {', '.join(needed)}."
            )
        if file and not scores:
            chosen = [*resolve_scores(chosen), *needed]
    trained = trained_model(run)
    model, stream = trained.model, real.open(trained, "evaluate")
    scored = evaluation.evaluate(
        model,
        stream,
        count,
        seed,
        sampler,
        chosen,
        inception_weights,
        samples_alone=bool(scores),
        progress=True,
        backbone=backbone,
    )
    # First of all, so that a place that cannot be written does not cost the scores.
    print(scored.table())
    if not any_computed(scored.result):
        raise NotComputed(
            "No score that was asked for could be computed, for the reasons above. Nothing was "
            "written."
        )
    print(scored.protocol())
    if out:
        place = Run(find(run))
        training = training_of(place.config()) if place.exists else None
        write_whole(out, as_json({**scored.result, "training": training}))
    if pairs:
        sampler = sampler or model.default_sampler
        _draw_pairs(model, stream, pairs, drawing, count, seed, sampler)


def _draw_pairs(model, stream, out: str, drawing, count: int, seed: int, sampler: str) -> None:
    from keras_faces.metrics.faces import Faces
    from keras_faces.metrics.identity import nearest_training, pairs_picture

    drawn = min(count, 200)  # a tenth of a second each
    real = Faces(model.originals(count, seed, stream), kept=True)
    samples = Faces(model.samples(drawn, seed, sampler, stream))
    nearest = nearest_training(samples.descriptors, real.descriptors)
    drawing.save(pairs_picture(samples.images, real.images, nearest=nearest), out)
    print(
        f"Of {drawn} samples ({sampler}) the 20 nearest to real faces, over these; descriptors "
        f"{nearest.distances.min():.2f} apart or more: {out}"
    )


@without_keras()
def compare(*runs: kinds.Needed, format: kinds.TableFormat = "text") -> None:
    """Compare the scores of several runs in one table; runs that differ by seed share a row.

    Args:
        runs: Run folders, or files written by `evaluate --out`.
        format: Format of the table. With `csv`, the notes below it go to standard error.
    """
    import sys

    from keras_faces.formats import with_notes
    from keras_faces.metrics import tables

    results = {name: _scores_of(name) for name in runs}
    gathered, notes = _gathered(results)
    table, more = tables.compared(gathered, format)
    protocol = tables.protocol_line(*results.values(), names=tables.comparable(gathered))
    notes = [*more, *notes, protocol]
    for name, result in results.items():
        if result.get("conditions"):
            # Each has a protocol of its own: classifiers learn from other labels.
            notes.append(f"{name}: {tables.format_condition_accuracy(result['conditions'])}")
            protocol = result["conditions"]["protocol"]
            notes.append(tables.format_protocol(protocol, f"{name}'s conditions"))
        if result.get("matches"):
            notes.append(f"{name}: {tables.format_matches(result['matches'])}")
            protocol = result["matches"]["protocol"]
            notes.append(tables.format_protocol(protocol, f"{name}'s matching"))
    print(with_notes(format, table, notes))
    if format == "csv":
        print("\n".join(notes), file=sys.stderr)


def _scores_of(name: str) -> dict:
    """Return the scores of a run or in a file, with the training that they are of, if known."""
    from keras_faces.metrics.tables import read_scores
    from keras_faces.runs import Run, find, training_of

    path = find(name)
    if path.is_dir():
        path = Run(path).scores_path
    if not path.is_file():
        raise UserError(
            f"There are no scores of {name!r}: {path} is not there. Make them with: "
            f"keras-faces evaluate {quoted(name)} --out FILE"
        )
    result, run = read_scores(path), Run(path.parent)
    return {"training": training_of(run.config()) if run.exists else None, **result}


def _gathered(results: dict[str, dict]) -> tuple[dict, list[str]]:
    """Put trainings that differ by their seed alone into lists, and say in words which."""
    groups: dict[str, dict[str, dict]] = {}
    for name, result in results.items():
        training = result["training"]
        key = training["digest"] if training else f"only {name}"
        groups.setdefault(key, {})[name] = result
    gathered, notes = {}, []
    for group in groups.values():
        seeds = [(result["training"] or {}).get("seed") for result in group.values()]
        names = list(group)
        if len(set(seeds)) < len(seeds):
            gathered |= group
            notes.append(f"Of one training and seed, so not gathered: {', '.join(names)}.")
        elif len(names) == 1:
            gathered |= group
        else:
            begin = _shared(names)
            end = _shared([name[len(begin) :][::-1] for name in names])[::-1]
            title = f"{begin}*{end}"
            if title in gathered or not os.path.basename(begin):  # which says too little
                title = ", ".join(names)
            gathered[title] = list(group.values())
            notes.append(f"{title}: seeds {', '.join(map(str, seeds))}, of {', '.join(names)}.")
    return gathered, notes


def _shared(names: list[str]) -> str:
    """Return with what all names begin."""
    same = itertools.takewhile(lambda signs: len(set(signs)) == 1, zip(*names, strict=False))
    return "".join(signs[0] for signs in same)


def reproduce(
    report: kinds.Report,
    /,
    *,
    data: kinds.Sources | None = None,
    budget: kinds.Budget | None = None,
    seeds: tuple[int, ...] | None = None,
    count: int | None = None,
    out: str | None = None,
    runs: str | None = None,
    score_every: int | None = None,
    best: kinds.Score | None = None,
    part: str | None = None,
    jobs: int = 1,
) -> None:
    """Rebuild a document's table or figures beside the document's numbers, or your own comparison.

    Args:
        report: A report (see: keras-faces list reports), or your own FILE.toml that lists
            trainings, seeds and scores.
        data: Source of faces; give it several times to use several. Defaults to each recipe's.
        budget: The recipes' `quick` settings, for minutes, or their `paper` settings. Defaults to
            the file's, or quick.
        seeds: Train every model once for each seed. Defaults to the file's, or 0.
        count: Samples to score. Defaults to the file's, or 1000.
        out: Folder of the report. Defaults to `reports/REPORT`.
        runs: Folder of the runs, which reports share. Defaults to `reports/runs`.
        score_every: Epochs between measurements for the best model. Defaults to 10 for quick, 1
            for paper.
        best: The score that decides which is best. Defaults to face_detection_rate.
        part: `I/N`: do only every N-th training, beginning with the I-th, as in a job array. Then
            run the command without it to build the page.
        jobs: Number of trainings at the same time, each on its share of the cores.
    """
    from keras_faces import reports

    further = {"score_every": score_every, "best": best}
    try:
        reports.reproduce(
            report,
            data=data,
            budget=budget,
            seeds=seeds,
            count=count,
            out=out,
            runs=runs,
            part=part,
            jobs=jobs,
            **{name: value for name, value in further.items() if value is not None},
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Stopped. Finished trainings are kept{f' in {out}' if out else ''}. Run the same "
            "command again to resume.",
            number_of(stop),
        ) from None
