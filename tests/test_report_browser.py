"""The report in a real browser: Debian's chromium and chromium-driver by selenium; skipped where they are not."""

from __future__ import annotations

import shutil

import pytest

from tests.report_pages import page

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
_LAYERS = "[...document.querySelectorAll('.moving [data-layer]:not([display])')]"
_SHOWN = f"{_LAYERS}.map(piece => piece.dataset.layer + piece.dataset.version)"


@pytest.fixture(scope="module")
def browser():
    selenium = pytest.importorskip("selenium.webdriver", reason="the report's test in a browser needs selenium")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver to test the report in one")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=Service(DRIVER))
    driver.set_window_size(1100, 900)
    yield driver
    driver.quit()


@pytest.fixture
def gaussians(browser):
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.get(page("gaussians").as_uri())
    return browser


def shown(browser):
    """Layers with their versions that are visible, sorted."""
    return sorted(set(browser.execute_script(f"return {_SHOWN}")))


@pytest.mark.parametrize("name", ["gaussians", "table_of_words", "classes", "chain", "codes"])
def test_opens_without_errors_and_fits_a_phone(browser, name):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(page(name).as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script("return [...document.querySelectorAll('main svg')].every(s => s.clientWidth <= 360)")
    assert {"posterior0", "parameters0"} & set(shown(browser))


def test_the_slider_moves_the_picture_and_the_words(gaussians):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    slider = gaussians.find_element(By.CSS_SELECTOR, "input[type=range]")
    title = gaussians.find_element(By.CSS_SELECTOR, "[data-title]")
    assert shown(gaussians) == ["mark0", "parameters0", "posterior0"]
    seen = [(title.text, shown(gaussians))]
    for _ in range(3):
        slider.send_keys(Keys.ARROW_RIGHT)
        seen.append((title.text, shown(gaussians)))
    assert [words for words, _ in seen] == [
        "Start: nothing is known",
        "Iteration 0: E-step",
        "Iteration 0: M-step",
        "Iteration 1: E-step",
    ]
    assert [layers[1:] for _, layers in seen] == [
        ["parameters0", "posterior0"],
        ["parameters0", "posterior1"],
        ["parameters1", "posterior1"],
        ["parameters1", "posterior2"],
    ]
    slider.send_keys(Keys.END)
    assert title.text == "The end"
    slider.send_keys(Keys.HOME)
    assert title.text == "Start: nothing is known"
    assert gaussians.get_log("browser") == []


def test_the_keyboard_alone_plays_and_pauses(gaussians):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    play = gaussians.find_element(By.CSS_SELECTOR, "[data-play]")
    play.send_keys(Keys.ENTER)
    assert play.text == "Pause"
    WebDriverWait(gaussians, 20).until(lambda driver: "posterior1" in shown(driver))
    play.send_keys(Keys.SPACE)
    assert play.text == "Play"
    gaussians.find_element(By.CSS_SELECTOR, "[data-next]").send_keys(Keys.ENTER)
    assert "parameters1" in shown(gaussians)


def test_dark_mode_changes_paper_and_ink(gaussians):
    def colors():
        return gaussians.execute_script(
            "const of = (q, p) => getComputedStyle(document.querySelector(q))[p];"
            "return [of('body', 'backgroundColor'), of('body', 'color'), of('#model svg text', 'fill')]"
        )

    light = colors()
    gaussians.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = colors()
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert light[1] == light[2]
    assert dark[1] == dark[2]


def test_print_shows_first_and_last_and_no_buttons(gaussians):
    def is_there(selector):
        return gaussians.execute_script(
            f"return getComputedStyle(document.querySelector('{selector}')).display !== 'none'"
        )

    assert is_there(".controls")
    assert not is_there(".last")
    gaussians.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not is_there(".controls")
    assert is_there(".last")
    assert is_there(".moving")


def test_without_the_script_first_and_last_are_there(browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page("gaussians").as_uri())
        from selenium.webdriver.common.by import By

        assert browser.find_element(By.CSS_SELECTOR, ".last").value_of_css_property("display") != "none"
        assert browser.find_element(By.CSS_SELECTOR, ".moving").value_of_css_property("display") != "none"
        assert browser.find_element(By.CSS_SELECTOR, ".controls").value_of_css_property("display") == "none"
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
