"""Pictures of the page of ``kgen demo``, to be looked at: ``python -m benchmarks.demo_pictures FOLDER [NAME ...]``.

Each view of each model, after its button was pressed, at 1,280 and at 390 pixels' width, light and dark; a line for whatever is wider than
its window. Needs Chromium and Playwright, as the test in a browser does. ``docs/demo.png`` is one of them.
"""

import argparse
import pathlib
import shutil

from kgen.tools import demo

SIZES = {1280: 900, 390: 844}
OWN, RECTANGLE = "Take one of the model's own samples", "Or a rectangle"
WIDER = """() => [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && e.offsetHeight > 1)
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => `${e.tagName}.${e.className}`.slice(0, 60)).slice(0, 3)"""


def seen(tab, selector):
    return tab.locator(selector).locator("visible=true")


def show(tab):
    """Presses the button of the view that can be seen, with a picture of the model's own where one is asked for."""
    own = tab.get_by_role("button", name=OWN).locator("visible=true")
    if own.count():
        own.first.click()
        seen(tab, "[data-testid=image] img, .image-frame img, canvas").first.wait_for()
        tab.wait_for_timeout(2000)
    rectangle = tab.get_by_label(RECTANGLE).locator("visible=true")
    if rectangle.count():
        rectangle.first.fill("4, 0, 8, 8")
    seen(tab, "button.primary").first.click()
    seen(tab, ".file-preview, .toast-body.error").first.wait_for()
    tab.wait_for_timeout(1000)


def main():
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", default=["ddpm_digits"])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in arguments.names:
            page = demo.page(name)
            _, url, _ = page.launch(prevent_thread_lock=True)
            for scheme in ("light", "dark"):
                tab = browser.new_context(color_scheme=scheme).new_page()
                tab.set_default_timeout(240_000)
                tab.set_viewport_size({"width": 1280, "height": SIZES[1280]})
                tab.goto(url)
                seen(tab, "button.primary").first.wait_for()
                for title in [t.inner_text().strip() for t in seen(tab, "button[role=tab]").all()]:
                    tab.set_viewport_size({"width": 1280, "height": SIZES[1280]})
                    tab.get_by_role("tab", name=title, exact=True).locator("visible=true").first.click()
                    show(tab)
                    for width, height in SIZES.items():
                        tab.set_viewport_size({"width": width, "height": height})
                        tab.wait_for_timeout(500)
                        path = arguments.folder / f"{name}_{title.lower().replace(' ', '_')}_{width}_{scheme}.png"
                        tab.screenshot(path=path, full_page=True)
                        print(path.name, *tab.evaluate(WIDER))
                tab.context.close()
            page.close(verbose=False)
        browser.close()


if __name__ == "__main__":
    main()
