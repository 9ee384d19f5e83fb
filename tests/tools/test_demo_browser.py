"""The page of ``kgen demo`` in a real browser: ``pytest -m browser``."""

import importlib.util
import io
import shutil

import numpy as np
import pytest
from tools import demo_models as models

import kgen
from kgen.core import pictures
from kgen.tools import demo

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        importlib.util.find_spec("gradio") is None, reason='gradio is not installed: pip install -e ".[demo]"'
    ),
    pytest.mark.skipif(BROWSER is None, reason="no chromium is installed"),
]
NAME = """(e => e.ariaLabel || e.innerText || e.closest("label")?.innerText || "")(document.activeElement)"""
PATIENCE = 30_000  # ms: a first sample is compiled


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return models.folder(tmp_path_factory.mktemp("presets"))


@pytest.fixture(scope="module")
def url(sources):
    page = demo.page(sources["digits"], sources["gpt"], models.plane())
    _, url, _ = page.launch(prevent_thread_lock=True)
    yield url
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, url):
    """A visitor's page, the errors of its scripts, and whatever it asked for outside of the page's own address."""
    context = browser.new_context(accept_downloads=True)
    yield visit(context, url)
    context.close()


def visit(context, url):
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.errors, tab.asked = [], []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.on("request", lambda request: request.url.startswith((url, "data:", "blob:")) or tab.asked.append(request.url))
    tab.goto(url)
    shown(tab, "button", "Generate").wait_for()
    return tab


def shown(tab, role, name):
    """What can be seen of this role and name: other tabs have the like."""
    return tab.get_by_role(role, name=name, exact=True).locator("visible=true").first


def entry(tab, label):
    """What is written into, of this label."""
    return tab.locator("label", has_text=label).locator("textarea, input").locator("visible=true").first


def drawn(tab, count):
    """The pixels (N, 8, 8, 1) of the pictures in the gallery, as the browser was given them."""
    from PIL import Image

    images = tab.locator(".kgen-pixels img").locator("visible=true")
    images.nth(count - 1).wait_for()
    found = []
    for i in range(count):
        answer = tab.request.get(images.nth(i).get_attribute("src"))
        assert answer.headers["content-type"] == "image/png"
        pixels = np.asarray(Image.open(io.BytesIO(answer.body())))
        found.append(pixels[:: len(pixels) // 8, :: len(pixels) // 8, None])
    return np.stack(found)


def choose(tab, label, value):
    box = tab.get_by_label(label, exact=True).locator("visible=true").first
    box.click()
    shown(tab, "option", value).click()


def test_a_class_with_guidance_is_python_s_sample_and_nothing_outside_is_asked(tab, sources):
    choose(tab, "Labels", "7")
    tab.get_by_label("number input for Guidance").locator("visible=true").fill("3")
    entry(tab, "Seed").fill("11")
    shown(tab, "button", "Generate").click()
    wanted = kgen.load(sources["digits"]).sample(16, seed=11, labels=7, guidance=3.0)
    np.testing.assert_array_equal(drawn(tab, 16), pictures.to_uint8(wanted))
    tab.get_by_text("The code for this").locator("visible=true").click()
    tab.get_by_text("labels=7, guidance=3.0").locator("visible=true").wait_for()
    assert tab.errors == [] and tab.asked == []


def test_a_wrong_input_is_shown_and_changes_nothing(tab, sources):
    shown(tab, "button", "Generate").click()
    before = drawn(tab, 16)
    entry(tab, "Seed").fill("-1")
    shown(tab, "button", "Generate").click()
    tab.get_by_text("seed: expected an integer in [0, 2**62), received '-1'.").wait_for()
    np.testing.assert_array_equal(drawn(tab, 16), before)
    first = tab.locator(".kgen-pixels img").locator("visible=true").first
    tab.wait_for_timeout(500)
    first.scroll_into_view_if_needed()
    box = first.bounding_box()  # nothing lies over it
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert first.evaluate("(image, at) => document.elementsFromPoint(...at)[0] === image", middle)


def test_narrow_windows_cut_nothing(browser, url):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = visit(context, url)
    shown(tab, "button", "Generate").click()
    assert len(drawn(tab, 16)) == 16
    images = tab.locator(".kgen-pixels img").locator("visible=true")
    for i in range(16):
        images.nth(i).scroll_into_view_if_needed()
        box = images.nth(i).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["width"] >= 40
        middle = [box["x"] + box["width"] - 4, box["y"] + box["height"] / 2]
        assert images.nth(i).evaluate("(image, at) => document.elementsFromPoint(...at)[0] === image", middle)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_by_keyboard_alone(tab, sources):
    def focus(name):
        for _ in range(80):
            tab.keyboard.press("Tab")
            here = tab.evaluate(NAME)
            if here.strip().split("\n")[0] == name:
                return
        raise AssertionError(f"{name} is not reached by the tabulator")

    tab.evaluate("document.activeElement.blur()")
    focus("Labels")
    tab.keyboard.type("3")
    tab.keyboard.press("Enter")
    focus("Generate")
    tab.keyboard.press("Enter")
    wanted = kgen.load(sources["digits"]).sample(16, seed=0, labels=3)
    np.testing.assert_array_equal(drawn(tab, 16), pictures.to_uint8(wanted))
    # Another view, a picture, a mask and a seed.
    focus("Inpaint")
    tab.keyboard.press("Enter")
    focus("Take one of the model's own samples")
    tab.keyboard.press("Enter")
    tab.locator("canvas").locator("visible=true").first.wait_for()
    tab.wait_for_timeout(1500)  # the editor lays its picture out
    focus("Or a rectangle")
    tab.keyboard.type("6, 0, 8, 8")
    focus("Seed")
    tab.keyboard.press("Control+A")
    tab.keyboard.type("12")
    focus("Generate")
    tab.keyboard.press("Enter")
    assert drawn(tab, 1).shape == (1, 8, 8, 1)
    focus("The code for this")
    tab.keyboard.press("Enter")
    tab.get_by_text("seed=12").locator("visible=true").wait_for()


def test_two_visitors_at_once(tab, browser, url, sources):
    context = browser.new_context()
    other = visit(context, url)
    for visitor, label in ((tab, "1"), (other, "2")):
        choose(visitor, "Labels", label)
    for visitor in (tab, other):
        shown(visitor, "button", "Generate").click()
    model = kgen.load(sources["digits"])
    for visitor, label in ((tab, 1), (other, 2)):
        np.testing.assert_array_equal(drawn(visitor, 16), pictures.to_uint8(model.sample(16, seed=0, labels=label)))
    context.close()


def test_a_mask_a_text_and_a_density(tab):
    shown(tab, "tab", "Inpaint").click()
    shown(tab, "button", "Take one of the model's own samples").click()
    canvas = tab.locator("canvas").locator("visible=true").first
    canvas.wait_for()
    tab.wait_for_timeout(1500)  # the editor lays its picture out
    box = canvas.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.4, steps=8)
    tab.mouse.up()
    entry(tab, "Or a rectangle").fill("6, 0, 8, 8")
    shown(tab, "button", "Generate").click()
    assert drawn(tab, 1).shape == (1, 8, 8, 1)

    shown(tab, "tab", "gpt").click()
    text = entry(tab, "Text")
    entry(tab, "Prompt").fill("def ")
    shown(tab, "button", "Generate").click()
    tab.wait_for_function("box => box.value.length > 4", arg=text.element_handle())
    assert text.input_value().startswith("def ")

    shown(tab, "tab", "plane").click()
    shown(tab, "button", "Generate").click()
    plot = tab.get_by_role("img").locator("visible=true").first
    tab.locator("img").locator("visible=true").first.wait_for()
    size = (
        tab.locator("img").locator("visible=true").first.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    )
    assert size[0] > 1.5 * size[1] and plot is not None  # samples and density side by side
    assert tab.errors == [] and tab.asked == []
