"""The page: a tab for each model, in it one for each view, with its controls on one side and what they give on the other."""

import dataclasses
import html
import inspect
import queue
import secrets
import threading

import gradio as gr

from kgen.core.views import FRAMES, PICTURES, POINTS, TEXT, shape_of
from kgen.tools.demo import asking, controls, files, safety, showing

COUNTS = (1, 4, 16, 64)  # each is a compilation: few of them
ERRORS = (ValueError, TypeError, ArithmeticError, NotImplementedError, KeyError, RuntimeError, ImportError)
WORK = {"concurrency_id": "work", "concurrency_limit": 1}  # one model at work at a time; visitors wait for their turn
_stops = {}  # of each visitor's work, by session and view


def page(subjects):
    """The ``Page`` of some subjects."""
    names = [s.name for s in subjects]
    with safety.Page(title=f"kgen: {', '.join(names)}", fill_width=False) as blocks:
        gr.Markdown(f"# {_plain(', '.join(names))}", elem_classes="kgen-head")
        if len(subjects) == 1:
            _tab(subjects[0], "")
        else:
            with gr.Tabs():
                for i, subject in enumerate(subjects):
                    with gr.Tab(subject.name):
                        _tab(subject, f"{i}_" if names.count(subject.name) > 1 else f"{subject.name}_")
    return blocks


def _plain(text):
    """Text as Markdown shows it."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|$~&" else c for c in " ".join(str(text).split()))


def _tab(subject, prefix):
    model = subject.model
    about = (inspect.getdoc(type(model)) or type(model).__name__).split("\n")[0].replace("``", "")
    likelihood = "no likelihood" if model.likelihood == "implicit" else f"likelihood: {model.likelihood}"
    gr.Markdown(_plain(f"{type(model).__name__}: {about} {model.count_params():,} parameters, {likelihood}."))
    with gr.Tabs():
        for view in subject.views:
            with gr.Tab(view.title):
                _View(subject, view, f"{prefix}{view.name}")


class _View:
    """The components of a view, and what happens when its buttons are pressed."""

    def __init__(self, subject, view, name):
        self.subject, self.view, self.name = subject, view, name
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._make_controls()
                with gr.Row():
                    go = gr.Button("Generate" if view.seeded else "Show", variant="primary", min_width=100)
                    stop = gr.Button("Stop", min_width=100)
            with gr.Column(scale=3, min_width=300):
                self._make_results()
        outputs = [*self.results, self.downloads, self.python, self.curl]
        streams = view.shows == TEXT and "stream" in inspect.signature(self._function()).parameters
        go.click(self._streamed if streams else self._asked, self.inputs, outputs, api_name=name, **WORK)
        stop.click(self._stop, None, None, queue=False, api_name=f"{name}_stop", show_progress="hidden")

    def _function(self):
        return asking.Request(self.subject, self.view, 1, 0, {}).function

    def _make_controls(self):
        view, model = self.view, self.subject.model
        self.controls = []
        if {"x", "mask"} <= set(view.given):
            self.controls.append(controls.painted(view.given["x"], view.given["mask"]))
            self._offer_sample(self.controls[-1], view.given["x"])
        else:
            for name, spec in view.given.items():
                latent = self.subject.facts.get("latent")
                control = controls.of_spec(name, spec, spec.dtype != "string", facts=latent)
                self.controls.append(control)
                if spec.kind == "image":
                    self._offer_sample(control, spec)
        for condition in model.conditions:
            if condition.name in view.conditions:
                self.controls += controls.of_condition(condition)
        self.inputs = [c for control in self.controls for c in control.components]
        self.seed = self.count = None
        if view.seeded:
            with gr.Row(equal_height=True):
                self.seed = gr.Textbox(
                    "0", label="Seed", info="the same seed gives the same result", max_lines=1, scale=3
                )
                dice = gr.Button("🎲 Another", scale=1, min_width=90)
            dice.click(
                lambda: str(secrets.randbelow(2**62)), None, self.seed, queue=False, api_name=f"{self.name}_dice"
            )
        if (view.counted and view.shows != POINTS) or (view.seeded and "x" in view.given):
            few = view.shows != PICTURES or not view.counted
            self.count = gr.Radio(COUNTS[:2] if few else COUNTS, value=1 if few else 16, label="How many")
        if view.options:
            with gr.Accordion("Options", open=len(view.options) <= 4):
                own = [controls.of_spec(name, spec) for name, spec in view.options.items()]
            self.controls += own
            self.inputs += [c for control in own for c in control.components]
        self.inputs += [c for c in (self.seed, self.count) if c is not None]

    def _offer_sample(self, control, spec):
        """A button that puts one of the model's own samples where a picture is asked for, where it draws such."""
        draws = any(v.name == "sample" and v.shows == PICTURES for v in self.subject.views)
        if not draws or tuple(spec.shape) != tuple(shape_of(self.subject.model)):
            return

        def draw(request: gr.Request):
            with _errors():
                first = {c.keyword: 0 for c in self.subject.model.conditions if not c.optional and c.kind == "label"}
                image = self.subject.model.sample(1, seed=secrets.randbelow(2**62), **first)
                path = files.write_pictures(image, files.results())[0]
            return {"background": path, "layers": [], "composite": path} if "mask" in self.view.given else path

        button = gr.Button("Take one of the model's own samples", size="sm")
        button.click(draw, None, control.components[0], api_name=f"{self.name}_own", **WORK)

    def _make_results(self):
        shows, label = self.view.shows, self.view.title
        self.frames = None
        if shows == PICTURES:
            shown = gr.Gallery(
                label=label, show_label=False, format="png", columns=4, object_fit="contain", elem_classes="kgen-pixels",
                buttons=["download", "fullscreen"], interactive=False,
            )  # fmt: skip
            self.results = [shown]
        elif shows == FRAMES:
            shown = gr.Image(
                label=label,
                format="png",
                interactive=False,
                elem_classes=["kgen-pixels", "kgen-frame"],
                type="filepath",
                buttons=["download"],
            )
            step = gr.Slider(0, 1, value=0, step=1, label="Step", interactive=True)
            self.frames = gr.State([])
            step.input(lambda k, paths: paths[min(int(k), len(paths) - 1)] if paths else None, [step, self.frames], shown,
                       queue=False, show_progress="hidden", api_visibility="private")  # fmt: skip
            self.results = [shown, step, self.frames]
        elif shows == POINTS:
            self.results = [
                gr.Image(
                    label=label,
                    show_label=False,
                    format="png",
                    interactive=False,
                    type="filepath",
                    buttons=["download", "fullscreen"],
                )
            ]
        else:
            self.results = [
                gr.Textbox(
                    label=label,
                    elem_classes="kgen-text",
                    lines=8 if shows == TEXT else 5,
                    max_lines=30,
                    buttons=["copy"],
                    interactive=False,
                )
            ]
        self.downloads = gr.File(label="Files", file_count="multiple", interactive=False, elem_classes="kgen-files")
        with gr.Accordion("The code for this", open=False):
            self.python = gr.Code(
                language="python", label="Python", interactive=False, show_line_numbers=False, wrap_lines=True
            )
            self.curl = gr.Code(
                language="shell",
                label="A server",
                interactive=False,
                show_line_numbers=False,
                wrap_lines=True,
                max_lines=8,
            )

    # What happens.

    def request(self, values):
        """The ``asking.Request`` of the components' values."""
        values, answers = list(values), {}
        for control in self.controls:
            own = [values.pop(0) for _ in control.components]
            found = control.read(*own)
            answers.update(
                zip(("x", "mask"), found, strict=True) if isinstance(found, tuple) else {control.keyword: found}
            )
        seed = controls.seed_of(values.pop(0)) if self.seed is not None else None
        n = int(values.pop(0)) if self.count is not None else 1000 if self.view.shows == POINTS else 1
        if self.count is not None and n not in COUNTS:
            raise ValueError(f"n: expected one of {COUNTS}, received {n}.")
        return asking.Request(self.subject, self.view, n, seed, answers)

    def _shown(self, request, answer):
        shown, downloads = showing.show(request, answer)
        results = [shown]
        if self.view.shows == FRAMES:
            last = len(shown) - 1
            results = [shown[-1], gr.Slider(maximum=last, value=last), shown]
        return *results, downloads, asking.python(request), asking.curl(request)

    def _asked(self, session: gr.Request, progress=gr.Progress(), *values):  # noqa: B008 (Gradio finds it so)
        with _errors(), _stoppable(session, self.name) as stop:
            request = self.request(values)
            answer = request.ask(lambda done, count: progress((done, count), unit="pieces"), stop)
            if self.view.counted and len(answer) < request.n:
                gr.Info(f"Stopped: {len(answer)} of {request.n}.", title="Stopped", duration=8)
                request = dataclasses.replace(request, n=len(answer))
            return self._shown(request, answer)

    def _streamed(self, session: gr.Request, progress=gr.Progress(), *values):  # noqa: B008
        pieces, text = queue.SimpleQueue(), ""
        with _errors(), _stoppable(session, self.name) as stop:
            request = self.request(values)

            def grow(piece):
                pieces.put(piece)
                if stop.is_set():
                    raise asking.Stopped("Stopped. What was written so far stays.")

            def work():
                try:
                    pieces.put((request.ask(stop=stop, stream=grow), None))
                except Exception as error:
                    pieces.put((None, error))

            threading.Thread(target=work, daemon=True).start()
            prompt = request.answers["prompt"].value or "" if "prompt" in request.answers else ""
            rest = [gr.skip()] * 3
            while isinstance(piece := pieces.get(), str):
                text += piece
                yield (prompt + text, *rest)
            answer, error = piece
            if error is not None and not isinstance(error, asking.Stopped):
                raise error
            shown, downloads, code, curl = self._shown(request, text if error else answer)
            if error:
                gr.Info(str(error), title="Stopped", duration=8)
                code = f"# It was stopped: this gives all of the text that begins so.\n{code}"
            yield prompt + shown, downloads, code, curl

    def _stop(self, session: gr.Request):
        event = _stops.get((session.session_hash, self.name))
        if event is not None:
            event.set()


class _stoppable:
    """An event that the visitor's stop button sets, while the work is under way."""

    def __init__(self, session, name):
        self.key, self.event = (getattr(session, "session_hash", None), name), threading.Event()

    def __enter__(self):
        _stops[self.key] = self.event
        return self.event

    def __exit__(self, *error):
        self.event.set()  # a visitor who left is not worked for
        _stops.pop(self.key, None)


class _errors:
    """kgen's own messages, as the page shows them; nothing that was shown before changes."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, asking.Stopped):
            raise gr.Error(html.escape(str(error)), title="Stopped", duration=8, print_exception=False) from None
        if isinstance(error, gr.Error) or not isinstance(error, ERRORS):
            return
        message = html.escape(" ".join(str(error).split()) or type(error).__name__)
        raise gr.Error(message, title="This does not work", duration=None, print_exception=False) from None
