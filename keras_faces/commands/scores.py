"""How good the faces are: `evaluate`, `compare`, `reproduce`."""

import os

from keras_faces.commands import kinds
from keras_faces.commands.functions import without_keras
from keras_faces.commands.inputs import RealFaces, trained_model
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
    out: str | None = None,
) -> None:
    """Score a model's faces beside real ones.

    Args:
        run: The model.
        count: Faces to generate.
        seed: Seed of the latents.
        sampler: Score only this one. Defaults to all.
        scores: Only these. Defaults to all for which nothing is missing.
        inception_weights: File of InceptionV3's weights.
        backbone: Image encoder for scores on its features: clip:FILE.onnx or dinov2:FILE.onnx.
        pairs: Draw the samples nearest to real faces over these (needs the extra identity).
        out: Write the scores and their protocol as JSON.
    """
    from keras_faces.files import write_whole
    from keras_faces.metrics import evaluation
    from keras_faces.metrics.scores import SCORES, resolve_scores
    from keras_faces.metrics.tables import any_computed
    from keras_faces.schema import as_json

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
        write_whole(out, as_json(scored.result))
    if pairs:
        _draw_pairs(model, stream, pairs, count, seed, sampler or model.default_sampler)


def _draw_pairs(model, stream, out: str, count: int, seed: int, sampler: str) -> None:
    from keras_faces.metrics.faces import Faces
    from keras_faces.metrics.identity import nearest_training, pairs_picture
    from keras_faces.pictures import save_picture

    drawn = min(count, 200)  # a tenth of a second each
    real = Faces(model.originals(count, seed, stream), kept=True)
    samples = Faces(model.samples(drawn, seed, sampler, stream))
    nearest = nearest_training(samples.descriptors, real.descriptors)
    save_picture(pairs_picture(samples.images, real.images, nearest=nearest), out)
    print(
        f"Of {drawn} samples ({sampler}) the 20 nearest to real faces, over these; descriptors "
        f"{nearest.distances.min():.2f} apart or more: {out}"
    )


@without_keras()
def compare(*runs: kinds.Needed) -> None:
    """Put the scores of several runs into one table.

    Args:
        runs: Run folders, or what `evaluate --out` wrote.
    """
    from keras_faces.metrics import tables
    from keras_faces.runs import Run, find

    results = {}
    for name in runs:
        path = find(name)
        if path.is_dir():
            path = Run(path).scores_path
        if not path.is_file():
            raise UserError(
                f"There are no scores of {name!r}: {path} is not there. Make them with: "
                f"keras-faces evaluate {quoted(name)} --out FILE"
            )
        results[name] = tables.read_scores(path)
    print(tables.compare(results))
    print(tables.protocol_line(*results.values(), names=tables.comparable(results)))
    for name, result in results.items():
        if result.get("conditions"):
            # Each has a protocol of its own: classifiers learn from other labels.
            print(f"{name}: {tables.format_condition_accuracy(result['conditions'])}")
            print(tables.format_protocol(result["conditions"]["protocol"], f"{name}'s conditions"))
        if result.get("matches"):
            print(f"{name}: {tables.format_matches(result['matches'])}")
            print(tables.format_protocol(result["matches"]["protocol"], f"{name}'s matching"))


def reproduce(
    report: kinds.Report,
    /,
    *,
    data: kinds.Sources | None = None,
    budget: kinds.Budget = "quick",
    seeds: tuple[int, ...] = (0,),
    count: int = 1000,
    out: str | None = None,
    runs: str | None = None,
    score_every: int | None = None,
    best: kinds.Score | None = None,
) -> None:
    """Rebuild a document's table or figures beside its own numbers.

    Args:
        report: The report; see: keras-faces list reports
        data: Source of faces; given several times, all of their pictures. Defaults to each
            recipe's own.
        budget: Which of the recipes' numbers: `quick` for minutes, or `paper`.
        seeds: Train every model once for each.
        count: Samples to score.
        out: The folder. Defaults to `reports/REPORT`.
        runs: Folder of the runs, which reports share. Defaults to `reports/runs`.
        score_every: Epochs between looks for the best model. Defaults to 10 for quick, 1 for paper.
        best: What the best is best by. Defaults to face_detection_rate.
    """
    from keras_faces import reports

    out = out or os.path.join("reports", report)
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
            **{name: value for name, value in further.items() if value is not None},
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Stopped. What is done in {out} is kept: give the same command again to go on.",
            number_of(stop),
        ) from None
