"""The page: what `actions` can do, laid out with Gradio.

Nothing is computed here. Every handler names the model by its entry in the drop-down, so that the
page keeps nothing of one visitor that another could see.
"""

import abc
import functools
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from PIL import Image

from keras_faces.app import actions
from keras_faces.app.actions import Given, Shown
from keras_faces.app.served import ServedModel, ServedModels
from keras_faces.app.uploads import MAX_PIXELS, SHOWN_SUFFIXES, check_bytes, decoding
from keras_faces.app.visitors import KEPT_SECONDS, Visitors, visitor_of
from keras_faces.data.decode import BadPicture
from keras_faces.errors import UserError
from keras_faces.pictures import enlarged, grid
from keras_faces.trained.pictures import TOLD_FORMATS, decode_whole

TITLE = "keras_faces"
SLIDERS = 8  # for attributes at a time

AS_IN_THE_DATA, CHOSEN = "as they go together in the data", "those chosen here"
SEED, PICTURE = "a seed", "a picture"
TO = {"a photo of a sketch": "photo", "a sketch of a photo": "sketch"}

CSS = """
.seen img { image-rendering: auto; }
footer { display: none !important; }
"""


def _giving_files(component: type) -> type:
    """Return a kind of component of whose value handlers get the path of its file, or None.

    Gradio would decode uploaded pictures first, without our limits, and say less clearly what is
    wrong with them.
    """

    def preprocess(self, payload):
        payload = getattr(payload, "composite", payload)
        return None if payload is None else payload.path

    kind = type(component)
    members = {"preprocess": preprocess, "is_template": True, "__module__": __name__}
    # Past Gradio's own step, which writes a stub beside the file of every class of components.
    return abc.ABCMeta.__new__(kind, f"{component.__name__}File", (component,), members)


PictureFile, DrawingFile = map(_giving_files, (gr.Image, gr.ImageEditor))


class Picture(NamedTuple):
    """The components by which a picture is given."""

    column: gr.Column
    upload: gr.Image
    cropped: gr.Checkbox
    conditions: gr.Dropdown
    seen: gr.Image
    note: gr.Markdown

    @property
    def inputs(self) -> list:
        """What a handler needs of them."""
        return [self.upload, self.cropped, self.conditions]


class Start(NamedTuple):
    """The components by which a seed or a picture is given."""

    kind: gr.Radio
    seed: gr.Number
    sampler: gr.Dropdown
    picture: Picture

    @property
    def inputs(self) -> list:
        """What a handler needs of them."""
        return [self.kind, self.seed, self.sampler, *self.picture.inputs]


def told(function: Callable) -> Callable:
    """Return a handler that shows a `UserError` to the visitor, without a stack on the console.

    Args:
        function: Called with the visitor and the values of the components.
    """

    def handler(request: gr.Request, *values):
        try:
            return function(visitor_of(request.session_hash), *values)
        except UserError as error:
            raise _sorry(str(error)) from None

    return handler


def _sorry(told: str) -> gr.Error:
    return gr.Error(told, duration=30, title="Sorry", print_exception=False)


class _Blocks(gr.Blocks):
    """Values that no component can have are told, without a stack on the console."""

    async def preprocess_data(self, block_fn, inputs, *arguments, **named):
        try:
            if not all(map(_fits, block_fn.inputs, inputs)):
                raise TypeError
            return await super().preprocess_data(block_fn, inputs, *arguments, **named)
        except Exception as error:
            message = error.message if isinstance(error, gr.Error) else "A value is out of range."
            raise _sorry(f"{message} Reload this page.") from None


def _fits(component: gr.components.Component, value) -> bool:
    """Return whether a value is of the kind that a component has; Gradio looks at few."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(component, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(component, gr.Radio):
        return isinstance(value, str)
    if isinstance(component, gr.Slider):
        return number
    if isinstance(component, gr.Number):
        return number or value is None
    if isinstance(component, gr.Dropdown) and component.multiselect:
        most = component.max_choices
        return isinstance(value, list) and (most is None or len(value) <= most)
    if isinstance(component, gr.Dropdown):
        return isinstance(value, str) or value is None
    return True


def build(models: ServedModels, visitors: Visitors) -> gr.Blocks:
    """Return the page.

    Args:
        models: The models that are served.
        visitors: To whom files belong.
    """
    return _Page(models, visitors).blocks


class _Page:
    def __init__(self, models: ServedModels, visitors: Visitors):
        self.models = models
        self.visitors = visitors
        self.updates: list[tuple[gr.components.Component, Callable[[ServedModel], dict]]] = []
        self.bodies: dict[str, tuple[gr.Markdown, gr.Column]] = {}
        self.blocks = _Blocks(
            title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS // 6, KEPT_SECONDS)
        )
        with self.blocks:
            gr.Markdown(f"# {TITLE}")
            with gr.Row(equal_height=True):
                self.name = gr.Dropdown(
                    models.names, value=models.names[0], label="model", elem_id="model"
                )
                self.about = gr.Markdown(elem_id="about")
            with gr.Tabs():
                self._tab("Sample", self._sample)
                self._tab("Blend", self._blend)
                self._tab("Attributes", self._attributes)
                self._tab("Interpolate", self._interpolate)
                self._tab("Translate", self._translate)
                self._tab("Reconstruct", self._reconstruct)
                self._tab("Scores", self._scores)
            gr.Markdown(
                f"Pictures: {TOLD_FORMATS}. Faces made here are of no real person, or changed: say "
                "so where you show them, and change nobody's face without asking."
            )
            outputs = [self.about]
            outputs += [part for body in self.bodies.values() for part in body]
            outputs += [component for component, _ in self.updates]
            _on(self.blocks.load, told(self._choose), [self.name], outputs)
            loading = _on(
                self.name.change,
                lambda name: f"Loading {name} ...",
                [self.name],
                [self.about],
                show_progress="hidden",
            )
            _on(loading.then, told(self._choose), [self.name], outputs)

    def _tab(self, title: str, fill: Callable):
        key = title.lower()
        with gr.Tab(title, elem_id=f"tab-{key}"):
            why = gr.Markdown(visible=False, elem_id=f"why-{key}")
            with gr.Column(elem_id=f"body-{key}") as body:
                self.bodies[key] = (why, body)
                fill()

    def _choose(self, _, name):
        served = self.models[name]
        reasons = actions.reasons(served)
        values = [served.describe()]
        for key in self.bodies:
            why = reasons.get(key)
            values += [gr.update(value=why or "", visible=bool(why)), gr.update(visible=not why)]
        return [*values, *(gr.update(**update(served)) for _, update in self.updates)]

    def _follows(self, component, update: Callable[[ServedModel], dict]):
        """Let a component be as a model needs it: now the first one, later the chosen one."""
        self.updates.append((component, update))
        first = update(self.models[self.models.names[0]])
        for name, value in first.items():
            # Gradio pairs the names of choices with their values.
            setattr(component, name, [(c, c) for c in value] if name == "choices" else value)
        return component

    # Parts that tabs share.

    def _sampler(self) -> gr.Dropdown:
        def update(served):
            usable = list(served.model.usable_samplers)
            return {
                "choices": usable,
                "value": served.model.default_sampler,
                "visible": len(usable) > 1,
            }

        return self._follows(gr.Dropdown([], label="sampler", min_width=120), update)

    def _conditions(self, label) -> gr.Dropdown:
        def update(served):
            conditional = served.model.conditional
            names = served.model.condition_names if conditional else []
            return {"choices": names, "value": [], "visible": conditional}

        return self._follows(gr.Dropdown([], multiselect=True, label=label, visible=False), update)

    def _picture(self, label: str, key: str, cropped: bool = False, visible=True) -> Picture:
        with gr.Column(visible=visible, min_width=240) as column:
            upload = PictureFile(
                label=label,
                type="filepath",
                sources=["upload", "webcam", "clipboard"],
                height=260,
                buttons=["fullscreen"],
                elem_id=f"upload-{key}",
            )
            with gr.Row():
                tick = gr.Checkbox(cropped, label="already cropped", min_width=120)
                if cropped:  # of a photo, a face is looked for
                    self._follows(tick, lambda served: {"value": _takes_sketches(served)})
                example = gr.Button("a face it learnt from", size="sm", min_width=120)
            conditions = self._conditions("what holds of this face")
            with gr.Row():
                seen = gr.Image(
                    show_label=False,
                    interactive=False,
                    height=150,
                    buttons=[],
                    elem_id=f"seen-{key}",
                )
                note = gr.Markdown(elem_id=f"note-{key}")
        _on(upload.upload, told(self._displayable), [upload], [upload])
        _on(
            [upload.change, tick.change, self.name.change],
            told(self._look),
            [self.name, upload, tick],
            [seen, note],
            show_progress="hidden",
        )
        _on(example.click, told(self._example), [self.name], [upload, tick])
        return Picture(column, upload, tick, conditions, seen, note)

    def _start(self, label: str, key: str, seed: int) -> Start:
        def kinds(served):
            both = served.model.latent_dim is not None
            return {"choices": [SEED, PICTURE] if both else [SEED], "value": SEED, "visible": both}

        with gr.Column(min_width=240):
            kind = self._follows(
                gr.Radio([SEED, PICTURE], value=SEED, label=label, elem_id=f"kind-{key}"), kinds
            )
            with gr.Row() as row:
                number = _seed(seed)
                sampler = self._sampler()
            picture = self._picture(label, key, visible=False)
        _on(
            kind.change,
            lambda chosen: [gr.update(visible=chosen == part) for part in (SEED, PICTURE)],
            [kind],
            [row, picture.column],
        )
        return Start(kind, number, sampler, picture)

    # Handlers that tabs share.

    def _look(self, visitor, name, path, cropped):
        if path is None:
            return None, ""
        try:
            face = self.models[name].face(read(path), cropped)
        except UserError as error:
            return None, f"**{error}**"
        with self.visitors.writing(visitor, "seen.png") as target:
            enlarged(grid(face.face[None], gap=0), 256).save(target)
        return str(target), face.note

    def _displayable(self, visitor, path):
        if path is None or Path(path).suffix.lower() in SHOWN_SUFFIXES:
            return gr.skip()
        try:
            with decoding:
                pixels = decode_whole(read(path), 3, MAX_PIXELS)
        except (UserError, BadPicture):
            return gr.skip()  # which `_look` tells
        with self.visitors.writing(visitor, "picture.png") as target:
            Image.fromarray(pixels).save(target)
        return str(target)

    def _example(self, visitor, name):
        served = self.models[name]
        face = served.faces().sample(1, random.randrange(2**31))
        with self.visitors.writing(visitor, "face.png") as target:
            grid(face, gap=0).save(target)
        return str(target), True

    def _both(self, visitor, shown: Shown) -> tuple[str, str]:
        # Gradio would compress a picture for longer than the model takes to make it.
        with self.visitors.writing(visitor, "faces.png") as target:
            shown.picture.save(target, compress_level=1)
        return str(target), shown.note

    # The tabs.

    def _sample(self):
        with gr.Row():
            count = gr.Slider(1, actions.MAX_COUNT, value=16, step=1, label="faces")
            seed = _seed(0)
            sampler = self._sampler()
        mode = self._follows(
            gr.Radio([AS_IN_THE_DATA, CHOSEN], value=AS_IN_THE_DATA, label="conditions"),
            lambda served: {"visible": served.model.conditional},
        )
        conditions = self._conditions("what holds of the faces")
        with gr.Row():
            draw = gr.Button("Draw", variant="primary")
            another = gr.Button("Another seed")
        picture, note = _result("sample", 520)
        download = gr.DownloadButton("Download as single pictures (zip)", visible=False)

        def run(visitor, name, count, seed, sampler, mode, conditions):
            chosen = conditions if mode == CHOSEN else None
            shown = actions.sample(self.models[name], count, seed, sampler or None, chosen)
            with self.visitors.writing(visitor, "faces.zip") as path:
                actions.save_faces(shown, path)
            return *self._both(visitor, shown), gr.update(value=str(path), visible=True)

        inputs = [self.name, count, seed, sampler, mode, conditions]
        outputs = [picture, note, download]
        _on(draw.click, told(run), inputs, outputs)
        drawn = _on(another.click, lambda: random.randrange(2**31), None, [seed])
        _on(drawn.then, told(run), inputs, outputs)

    def _blend(self):
        with gr.Row():
            first = self._picture("first picture", "blend-first")
            second = self._picture("second picture", "blend-second")
        percent = gr.Slider(0, 100, value=50, step=1, label="% of the second", elem_id="percent")
        button = gr.Button("Blend", variant="primary")
        picture, note = _result("blend")

        def run(visitor, name, percent, *given):
            served = self.models[name]
            ends = [_given_picture(served, *given[:3]), _given_picture(served, *given[3:])]
            return self._both(visitor, actions.blend(served, *ends, percent))

        inputs = [self.name, percent, *first.inputs, *second.inputs]
        outputs = [picture, note]
        _on(button.click, told(run), inputs, outputs)
        often = {"show_progress": "hidden", "trigger_mode": "always_last"}
        _on(percent.release, told(run), inputs, outputs, **often)

    def _attributes(self):
        def names(served):
            if "attributes" in actions.reasons(served):
                return {"choices": [], "value": []}
            known = served.attribute_names
            return {"choices": known, "value": known[:4]}

        with gr.Row():
            start = self._start("whose face", "attributes", 0)
            with gr.Column():
                chosen = self._follows(
                    gr.Dropdown(
                        [],
                        multiselect=True,
                        max_choices=SLIDERS,
                        label=f"attributes, at most {SLIDERS}",
                        elem_id="attributes",
                    ),
                    names,
                )
                most = actions.MAX_STRENGTH
                sliders = [
                    gr.Slider(
                        -most, most, value=0, step=0.1, visible=False, elem_id=f"strength-{n}"
                    )
                    for n in range(SLIDERS)
                ]
                hold = gr.Checkbox(
                    False, label="hold those at 0: keep what goes with them out of the others"
                )
                button = gr.Button("Show", variant="primary")
        picture, note = _result("attributes")
        before = gr.State([])

        def lay_out(chosen, before, *values):
            known = dict(zip(before, values))
            updates = [
                gr.update(label=name, value=known.get(name, 0), visible=True) for name in chosen
            ]
            rest = SLIDERS - len(updates)
            return [chosen, *updates, *[gr.update(visible=False, value=0)] * rest]

        outputs = [before, *sliders]
        _on(chosen.change, lay_out, [chosen, *outputs], outputs, show_progress="hidden")

        def run(
            visitor, name, hold, chosen, kind, seed, sampler, path, cropped, held, *values, progress
        ):
            served = self.models[name]
            given = _given(served, kind, seed, sampler, path, cropped, held)
            strengths = dict(zip(chosen, values))
            return self._both(
                visitor,
                actions.attributes(served, given, strengths, hold, lambda *done: progress(*done)),
            )

        # Gradio finds its progress bar among a function's defaults.
        def handler(request: gr.Request, progress=gr.Progress(), *values):  # noqa: B008
            return told(functools.partial(run, progress=progress))(request, *values)

        inputs = [self.name, hold, chosen, *start.inputs, *sliders]
        moved = [button.click, *(slider.release for slider in sliders)]
        _on(moved, handler, inputs, [picture, note], trigger_mode="always_last")

    def _interpolate(self):
        with gr.Row():
            first = self._start("from", "from", 0)
            last = self._start("to", "to", 1)
        with gr.Row():
            frames = gr.Slider(2, actions.MAX_FRAMES, value=10, step=1, label="faces on the way")
            path = gr.Radio(
                ["linear", "spherical"], value="linear", label="path", elem_id="interpolate-path"
            )
        button = gr.Button("Interpolate", variant="primary")
        picture, note = _result("interpolate")
        morph = gr.Image(
            label="there and back",
            interactive=False,
            height=240,
            format="gif",
            buttons=["download", "fullscreen"],
            elem_id="morph",
        )

        def run(visitor, name, frames, path, *given):
            served = self.models[name]
            ends = [_given(served, *given[:6]), _given(served, *given[6:])]
            shown = actions.interpolate(served, *ends, frames, path)
            with self.visitors.writing(visitor, "morph.gif") as path:
                actions.save_gif(shown, path)
            return *self._both(visitor, shown), str(path)

        inputs = [self.name, frames, path, *first.inputs, *last.inputs]
        _on(button.click, told(run), inputs, [picture, note, morph])

    def _translate(self):
        to = self._follows(
            gr.Radio([], label="make", elem_id="translate-to"),
            lambda served: _choices(served.model.translates_to or TO.values()),
        )
        with gr.Row():
            with gr.Column():
                drawing = self._drawn(
                    DrawingFile(
                        label="draw a sketch",
                        sources=(),
                        canvas_size=(256, 256),
                        fixed_canvas=True,
                        layers=False,
                        transforms=(),
                        brush=gr.Brush(default_size=3, colors=["#000000", "#707070", "#b0b0b0"]),
                        height=380,
                        elem_id="drawing",
                    )
                )
                from_drawing = self._drawn(
                    gr.Button("Make a photo of the drawing", variant="primary")
                )
            with gr.Column():
                given = self._picture("or a picture", "translate", cropped=True)
                from_picture = gr.Button("Translate the picture", variant="primary")
        picture, note = _result("translate")

        def run(visitor, name, to, path, cropped, _):
            given = Given(data=None if path is None else read(path), cropped=cropped)
            return self._both(visitor, actions.translate(self.models[name], given, TO[to]))

        def run_drawing(visitor, name, path):
            if path is None:
                raise UserError("Draw something first.")
            given = Given(data=read(path), cropped=True)
            return self._both(visitor, actions.translate(self.models[name], given, "photo"))

        inputs = [self.name, to, *given.inputs]
        outputs = [picture, note]
        _on(from_picture.click, told(run), inputs, outputs)
        _on(from_drawing.click, told(run_drawing), [self.name, drawing], outputs)

    def _drawn(self, component):
        """Show a component where a model makes something of a drawing."""
        return self._follows(component, lambda served: {"visible": _takes_sketches(served)})

    def _reconstruct(self):
        with gr.Row():
            given = self._picture("picture", "reconstruct")
            with gr.Column():
                button = gr.Button("Reconstruct", variant="primary")
                picture, note = _result("reconstruct")

        def run(visitor, name, *parts):
            served = self.models[name]
            return self._both(visitor, actions.reconstruct(served, _given_picture(served, *parts)))

        _on(button.click, told(run), [self.name, *given.inputs], [picture, note])

    def _scores(self):
        table = gr.Dataframe(interactive=False, wrap=True, elem_id="scores")
        notes = gr.Markdown(elem_id="protocol")

        def fill(name):
            try:
                found = actions.score_table(self.models[name])
            except UserError:  # why, stands in the tab
                return None, ""
            value = {"headers": found.headers, "data": found.rows}
            return value, "\n\n".join(found.notes)

        _on([self.name.change, self.blocks.load], fill, [self.name], [table, notes])


def _on(events, function: Callable, inputs, outputs, **options):
    """Let an event, or any of several, call a function, which programs may not."""
    options["api_visibility"] = "private"
    if callable(events):
        return events(function, inputs, outputs, **options)
    return gr.on(events, function, inputs, outputs, **options)


def _choices(makes: Iterable[str]) -> dict:
    names = [name for name, domain in TO.items() if domain in makes]
    return {"choices": names, "value": names[0]}


def _takes_sketches(served: ServedModel) -> bool:
    return "photo" in served.model.translates_to


def _seed(value: int) -> gr.Number:
    most = actions.MAX_SEED
    return gr.Number(value, label="seed", precision=0, minimum=0, maximum=most, min_width=120)


def _result(key: str, height: int = 300) -> tuple[gr.Image, gr.Markdown]:
    picture = gr.Image(
        label="result",
        interactive=False,
        format="png",
        height=height,
        buttons=["download", "fullscreen"],
        elem_id=f"result-{key}",
    )
    return picture, gr.Markdown(elem_id=f"told-{key}")


def _given_picture(served: ServedModel, path, cropped, conditions) -> Given:
    held = conditions if served.model.conditional else None
    return Given(data=None if path is None else read(path), cropped=cropped, conditions=held)


def _given(served: ServedModel, kind, seed, sampler, path, cropped, conditions) -> Given:
    if kind == PICTURE:
        if path is None:
            raise UserError("Choose a picture first, or take a seed.")
        return _given_picture(served, path, cropped, conditions)
    return Given(seed=seed, sampler=sampler or None)


def read(path: str) -> bytes:
    """Return the bytes of an uploaded file, if it is not too large."""
    check_bytes(Path(path).stat().st_size)
    return Path(path).read_bytes()
