"""How good the faces are: `evaluate`, `compare`, `reproduce`."""

import os

from keras_faces.commands.inputs import open_stream
from keras_faces.commands.parsing import Parser, no_more
from keras_faces.errors import Interrupted, NotComputed, UserError, number_of


def add(parser: Parser):
    """Add the commands of this file to the parser."""
    evaluate = parser.command("evaluate", _evaluate, "Score a model's faces beside real ones.")
    evaluate.add_argument("run", metavar="RUN")
    evaluate.add_argument("--data", help="source of the real faces (default: the run's)")
    evaluate.add_argument("--split", help="split of the real faces (default: the run's)")
    evaluate.add_argument("--count", type=int, default=1000, help="faces to generate")
    evaluate.add_argument("--seed", type=int, default=0, help="seed of the latents")
    evaluate.add_argument("--sampler", help="score only this one (default: all)")
    evaluate.add_argument(
        "--scores",
        nargs="+",
        metavar="SCORE",
        help="only these (default: all, those on Inception's features where its weights are here)",
    )
    evaluate.add_argument("--inception-weights", help="file of InceptionV3's weights")
    evaluate.add_argument(
        "--pairs",
        help="draw the samples nearest to real faces over these (needs the extra identity)",
    )
    evaluate.add_argument("--out", help="write the scores and their protocol as JSON")

    compare = parser.command("compare", _compare, "Put the scores of several runs into one table.")
    compare.add_argument(
        "runs", metavar="RUN", nargs="+", help="a run folder, or what evaluate --out wrote"
    )

    reproduce = parser.command(
        "reproduce", _reproduce, "Rebuild a document's table or figures beside its own numbers."
    )
    reproduce.add_argument("report", metavar="REPORT", help="see: keras-faces list reports")
    reproduce.add_argument("--data", help="source of faces (default: each recipe's own)")
    reproduce.add_argument("--budget", default="quick", help="the recipes' numbers: quick or paper")
    reproduce.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="train every model once for each"
    )
    reproduce.add_argument("--count", type=int, default=1000, help="samples to score")
    reproduce.add_argument("--out", help="the folder (default: reports/REPORT)")
    reproduce.add_argument(
        "--runs", help="folder of the runs, which reports share (default: reports/runs)"
    )
    reproduce.add_argument(
        "--score-every", type=int, help="epochs between looks for the best model (default: 10, 1)"
    )
    reproduce.add_argument(
        "--best", metavar="SCORE", help="what the best is best by (default: face_detection_rate)"
    )


def _evaluate(options):
    no_more(options)
    from keras_faces.pictures import picture_suffix

    if options.pairs and not picture_suffix(options.pairs):
        raise UserError(f"--pairs must name a picture, such as p.png. Received: {options.pairs!r}.")
    from keras_faces.files import write_whole
    from keras_faces.metrics.evaluation import evaluate
    from keras_faces.metrics.scores import SCORES, resolve_scores
    from keras_faces.metrics.tables import any_computed
    from keras_faces.saving import load_model
    from keras_faces.schema import as_json

    scores, weights = options.scores, options.inception_weights
    if scores and weights:
        needed = [n for n, chosen in SCORES.items() if chosen.features == "inception"]
        if not set(needed) & set(resolve_scores(scores)):
            raise UserError(
                "--inception-weights is given, but none of --scores needs them: "
                f"{', '.join(scores)}. Leave it out, or add one or more of: {', '.join(needed)}."
            )
    model = load_model(options.run)
    stream = open_stream(options, model)
    evaluation = evaluate(
        model,
        stream,
        options.count,
        options.seed,
        options.sampler,
        list(SCORES) if weights and not scores else scores,
        weights,
        samples_alone=bool(scores),
        progress=True,
    )
    # First of all, so that a place that cannot be written does not cost the scores.
    print(evaluation.table())
    if not any_computed(evaluation.result):
        raise NotComputed(
            "No score that was asked for could be computed, for the reasons above. Nothing was "
            "written."
        )
    print(evaluation.protocol())
    if options.out:
        write_whole(options.out, as_json(evaluation.result))
    if options.pairs:
        _draw_pairs(options, model, stream)


def _draw_pairs(options, model, stream):
    from keras_faces.metrics.faces import Faces
    from keras_faces.metrics.identity import nearest_training, pairs_picture
    from keras_faces.pictures import save_picture

    count = min(options.count, 200)  # a tenth of a second each
    real = Faces(stream.sample(options.count, options.seed), kept=True)
    sampler = options.sampler or model.default_sampler
    samples = Faces(model.samples(count, options.seed, sampler, stream))
    nearest = nearest_training(samples.descriptors, real.descriptors)
    drawn = pairs_picture(samples.images, real.images, nearest=nearest)
    save_picture(drawn, options.pairs)
    print(
        f"Of {count} samples ({sampler}) the 20 nearest to real faces, over these; descriptors "
        f"{nearest.distances.min():.2f} apart or more: {options.pairs}"
    )


def _compare(options):
    no_more(options)
    from keras_faces.metrics.tables import (
        comparable,
        compare,
        format_condition_accuracy,
        format_protocol,
        protocol_line,
        read_scores,
    )
    from keras_faces.runs import Run, find

    results = {}
    for name in options.runs:
        path = find(name)
        if path.is_dir():
            path = Run(path).scores_path
        if not path.is_file():
            raise UserError(
                f"There are no scores of {name!r}: {path} is not there. Make them with: "
                f"keras-faces evaluate {name} --out FILE"
            )
        results[name] = read_scores(path)
    print(compare(results))
    print(protocol_line(*results.values(), names=comparable(results)))
    for name, result in results.items():
        if result.get("conditions"):
            # Each has a protocol of its own: classifiers learn from other labels.
            print(f"{name}: {format_condition_accuracy(result['conditions'])}")
            print(format_protocol(result["conditions"]["protocol"], f"{name}'s conditions"))


def _reproduce(options):
    no_more(options)
    from keras_faces.reports import reproduce

    out = options.out or os.path.join("reports", options.report)
    further = {"score_every": options.score_every, "best": options.best}
    try:
        reproduce(
            options.report,
            data=options.data,
            budget=options.budget,
            seeds=options.seeds,
            count=options.count,
            out=out,
            runs=options.runs,
            **{name: value for name, value in further.items() if value is not None},
        )
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Stopped. What is done in {out} is kept: give the same command again to go on.",
            number_of(stop),
        ) from None
