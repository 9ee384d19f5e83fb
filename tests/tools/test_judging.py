"""The page of ``kgen judge`` in a real browser, and what its answers say."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from kgen.networks import MLP
from kgen.tools import cli
from kgen.tools import judging as judge
from kgen.vae import VAE

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DARK, BRIGHT = np.full((6, 8, 8, 1), -1.0), np.full((9, 8, 8, 1), 1.0)


@pytest.fixture
def tab(tmp_path):
    """A browser's tab, and the errors of its page."""
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(accept_downloads=True)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:", "blob:")) or page.errors.append(request.url),
        )
        yield page
        browser.close()


def brightness(tab, side):
    """0 or 255: the mean of the picture that is shown on a side."""
    return tab.evaluate(
        """async (id) => {
            const image = document.getElementById(id + "-image");
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 1;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0, 1, 1);
            return context.getImageData(0, 0, 1, 1).data[0];
        }""",
        side,
    )


@pytest.mark.browser
def test_a_person_who_knows_is_found_out(tab, tmp_path):
    judge.page(DARK, BRIGHT, tmp_path / "judge.html", n=6, names=("night", "<!--<script></script><b>day"))
    tab.goto((tmp_path / "judge.html").as_uri())
    assert tab.inner_text("h1") == "Which of the two is real?" and tab.inner_text("#progress") == "Pair 1 of 6"
    sides = []
    for i in range(6):
        shown = {side: brightness(tab, side) for side in ("left", "right")}
        assert sorted(shown.values()) == [0, 255]
        dark = min(shown, key=shown.get)
        sides.append(dark)
        if i % 2:
            tab.click(f"#{dark}")
        else:
            tab.keyboard.press("ArrowLeft" if dark == "left" else "ArrowRight")
    assert set(sides) == {"left", "right"}  # not always on the same side
    assert (
        tab.inner_text("#result") == "night was taken for the real one in 100 % of 6 pairs (95 % interval 61 to 100 %)."
    )
    assert not tab.is_visible("#pair")
    with tab.expect_download() as download:
        tab.click("#save")
    download.value.save_as(tmp_path / "answers.json")
    found = judge.report(tmp_path / "answers.json")
    assert (found["rate"], found["answers"], found["names"]) == (1.0, 6, ["night", "<!--<script></script><b>day"])
    assert found["low"] == pytest.approx(0.6097, abs=1e-4) and found["high"] == 1.0
    assert tab.errors == []


@pytest.mark.browser
def test_the_page_remembers_takes_back_and_starts_again(tab, tmp_path):
    judge.page(DARK, BRIGHT, tmp_path / "judge.html", n=4, question="better")
    address = (tmp_path / "judge.html").as_uri()
    tab.goto(address)
    tab.click("#left")
    tab.click("#right")
    tab.goto("about:blank")
    tab.goto(address)
    assert tab.inner_text("#progress") == "Pair 3 of 4"
    tab.keyboard.press("Backspace")
    assert tab.inner_text("#progress") == "Pair 2 of 4"
    tab.click("#undo")
    assert tab.is_disabled("#undo") and tab.is_disabled("#save")
    tab.click("#left")
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.click("#restart")
    assert tab.inner_text("#progress") == "Pair 1 of 4" and tab.errors == []


def answers(path, chosen, question="real", names=("A", "B")):
    path.write_text(json.dumps({"question": question, "names": list(names), "answers": list(chosen)}))
    return path


def test_the_report_of_several_people(tmp_path):
    files = [answers(tmp_path / "1.json", "AAB" * 20), answers(tmp_path / "2.json", "AB" * 10)]
    found = judge.report(files)
    assert found["rate"] == pytest.approx(50 / 80) and found["answers"] == 80
    assert (found["low"], found["high"]) == (pytest.approx(0.5155, abs=1e-3), pytest.approx(0.7231, abs=1e-3))
    assert found["text"].startswith(
        "A was taken for the real one in 62 % of 80 pairs (95 % interval 52 to 72 %). That is not"
    )
    assert "Guessing could have given this." in judge.report(files[1])["text"]


def test_the_command(tmp_path):
    np.save(tmp_path / "a.npy", DARK.astype("float32"))
    np.save(tmp_path / "b.npy", BRIGHT.astype("float32"))

    def run(*arguments):
        return CliRunner().invoke(cli.main, ["judge", *map(str, arguments)])

    out = tmp_path / "judge.html"
    result = run(tmp_path / "a.npy", tmp_path / "b.npy", "-n", 5, "--out", out)
    assert result.exit_code == 0 and str(out) in result.output and '"leftIs"' in out.read_text()
    assert "http" not in out.read_text()  # self-contained
    again = run(tmp_path / "a.npy", tmp_path / "b.npy", "--out", out)
    assert again.exit_code == 2 and "exists" in again.output
    result = run("--answers", answers(tmp_path / "1.json", "A" * 20))
    assert result.exit_code == 0 and "100 % of 20 pairs" in result.output
    result = run(tmp_path / "a.npy")
    assert result.exit_code == 2 and "A and B" in result.output


def test_what_a_person_names(tmp_path):
    assert judge.read("digits", 4).shape == (4, 8, 8, 1)
    model = VAE((4, 4, 1), 2, encoder=MLP((4, 4, 1), (4,), widths=()), decoder=MLP((2,), (4, 4, 1), widths=()))
    model.save_to_preset(tmp_path / "preset")
    model.save(tmp_path / "m.keras")
    for source in (tmp_path / "preset", tmp_path / "m.keras"):
        np.testing.assert_array_equal(judge.read(str(source), 3, seed=1), model.sample(3, seed=1))
    assert judge.read("vae_digits", 2).shape == (2, 8, 8, 1)
    with pytest.raises(ValueError, match="digts"):
        judge.read("digts", 2)


def test_wrong_arguments(tmp_path):
    out = tmp_path / "judge.html"
    for call, message in (
        (
            lambda: judge.page(DARK[0], BRIGHT, out),
            r"a: expected images \(N, H, W, 1 or 3\), received shape \(8, 8, 1\)",
        ),
        (lambda: judge.page(DARK, BRIGHT * 200, out), r"b: expected floats in \[-1, 1\]"),
        (lambda: judge.page(DARK, BRIGHT, out, question="nicer"), "question: expected one of"),
        (lambda: judge.report(answers(tmp_path / "1.json", "AC")), "is not a file that the page of kgen judge saved"),
        (lambda: judge.report([]), "answers: expected at least one file"),
        (lambda: judge.report(answers(tmp_path / "1.json", "")), "answers: expected at least one answer"),
        (
            lambda: judge.report([answers(tmp_path / "1.json", "A"), answers(tmp_path / "2.json", "A", "better")]),
            "expected files of one page",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert not out.exists()
