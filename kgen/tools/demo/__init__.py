"""A page to play with models: ``kgen demo``, made of what each model says of itself.

    kgen.tools.demo.page(model).launch()  # in a notebook
    kgen.tools.demo.page("ddpm_digits", "gpt_python").launch()

No system is named in this folder: a model's ``views``, its conditions and the inputs of its endpoints are what the page is made from.
"""

import os

MISSING = 'gradio is not installed, and the page needs Gradio 6. Install it by: pip install "gradio>=6,<7"'


def page(*models):
    """A page with a tab for each model.

    Args:
        *models: models, or what ``kgen.load`` takes: names of presets, folders, ``.keras`` files, hub addresses.
    Returns:
        ``Page``, a ``gradio.Blocks`` whose ``launch`` is safe by default: this machine alone, no telemetry, no tunnel.
    Raises:
        ImportError: Gradio is not installed.
        FileNotFoundError: there is no model of that name.
        ValueError: no model was named, or one offers nothing to show.
    """
    prepare()
    from kgen.tools.demo import layout, subject

    if not models:
        raise ValueError("models: expected at least one model, or the name or path of one, received none.")
    return layout.page([subject.of(model) for model in models])


def prepare():
    """Imports Gradio, without telemetry and with a folder of its own; raises ImportError with what installs it."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read at the import, as is that of Gradio's client for the hub
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from kgen.tools.demo import files

    os.environ["GRADIO_TEMP_DIR"] = os.environ["GRADIO_EXAMPLES_CACHE"] = str(files.folder())
    try:
        import gradio
    except ImportError as error:
        raise ImportError(MISSING) from error
    if int(gradio.__version__.split(".")[0]) != 6:
        raise ImportError(f"gradio {gradio.__version__} is installed. {MISSING}")
