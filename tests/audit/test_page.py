"""The page in a real browser: no error, no request, filters and sorting that work, also by keyboard and on a phone."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pytest_trainstep._planted import KILLED, SURVIVED, Cell, Planted, Plantings
from pytest_trainstep._report import write

pytestmark = pytest.mark.browser
BINARY, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    """The few commands of WebDriver that are needed."""

    def __init__(self, port, profile):
        self.root = f"http://127.0.0.1:{port}/session"
        options = {"binary": BINARY, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.root += "/" + self.post("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def post(self, path, body=None, method="POST"):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.root + path, data, head, method=method)  # noqa: S310 - http only
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return json.load(answer)["value"]

    def run(self, script, *arguments):
        return self.post("/execute/sync", {"script": script, "args": list(arguments)})

    def keys(self, text):
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def shown(self):
        return self.run(
            "return [...document.querySelectorAll('#tests > tbody:not([hidden])')].map(row => row.dataset.id)"
        )

    def errors(self):
        return [entry for entry in self.post("/se/log", {"type": "browser"}) if entry["level"] != "INFO"]

    def requests(self):
        entries = [json.loads(one["message"])["message"] for one in self.post("/se/log", {"type": "performance"})]
        sent = [one["params"]["request"]["url"] for one in entries if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "file:", "chrome:"))]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not BINARY or not DRIVER:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        found = Browser(port, tmp_path_factory.mktemp("profile"))
        yield found
        found.post("", method="DELETE")
        process.terminate()


@pytest.fixture
def page(browser, session, subjects, tmp_path):
    path = tmp_path / "audit.html"
    write(path, session, subjects)
    browser.post("/window/rect", {"width": 1200, "height": 1600})
    browser.post("/url", {"url": path.as_uri()})
    yield browser
    kept = os.environ.get("TRAINSTEP_SCREENSHOTS")
    if kept:
        name = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" ")[0]
        Path(kept, f"{name}.png").write_bytes(base64.b64decode(browser.post("/screenshot", method="GET")))


STUCK, ODD = "test_a.py::test_stuck", "test_c.py::test_odd[<script>alert(1)</script>-|]"


def test_findings_come_first_and_nothing_else_is_shown(page):
    assert page.shown() == [STUCK, ODD]
    assert page.run("return document.getElementById('shown').value") == "2 of 14 shown"


def test_the_page_logs_no_error_and_asks_nobody(page):
    page.run("document.querySelectorAll('.open').forEach(button => button.click())")

    assert page.errors() == []
    assert page.requests() == []
    assert page.run("return document.querySelectorAll('svg').length") > 20


def test_words_and_causes_filter(page):
    page.run("document.getElementById('only').click()")
    assert len(page.shown()) == 14

    page.run("document.getElementById('words').focus()")
    page.keys("HEALTHY 1")
    assert page.shown() == ["test_b.py::test_healthy[10]", "test_b.py::test_healthy[11]"]

    page.run("words.value = ''; document.querySelector('.causes [data-cause=lr-zero]').click()")
    assert page.shown() == [STUCK]
    assert page.run("return document.getElementById('cause').value") == "lr-zero"


def test_a_filter_that_fits_nothing_says_so(page):
    page.run("words.value = 'nowhere'; words.dispatchEvent(new Event('input', {bubbles: true}))")

    assert page.shown() == []
    assert page.run("return !document.getElementById('none').hidden")


def test_columns_sort_both_ways_and_say_which(page):
    page.run("only.click(); words.value = 'healthy'; words.dispatchEvent(new Event('input', {bubbles: true}))")
    steps = "return document.querySelector('[data-key=steps]')"
    page.run(f"{steps}.click()")
    assert page.shown()[0] == "test_b.py::test_healthy[11]"
    assert page.run(f"{steps}.parentNode.getAttribute('aria-sort')") == "descending"

    page.run(f"{steps}.click()")
    assert page.shown()[0] == "test_b.py::test_healthy[2]"


def opened_by_key(page, table):
    """What the first row that is shown unfolds when Enter is pressed on it."""
    page.run(f"document.querySelector('{table} > tbody:not([hidden]) .open').focus()")
    page.keys("\ue007")
    return page.run(f"return document.querySelector('{table} > tbody:not([hidden]) .more').innerText")


def test_the_keyboard_opens_a_row(page):
    text = opened_by_key(page, "#tests")
    assert "because: the learning rate of the group was 0" in text
    assert "log10 of update / weight per parameter" in text


def test_stuck_parameters_stand_in_the_gutter(page):
    page.run("document.querySelector('#tests > tbody:not([hidden]) .open').click()")

    assert page.run("return document.querySelectorAll('#tests > tbody:not([hidden]) .stuck').length") >= 2


def test_names_of_tests_are_text_and_never_code(page):
    assert page.run("return document.querySelectorAll('script').length") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_are_readable_in_both_themes(page, theme):
    page.run("document.documentElement.dataset.theme = arguments[0]", theme)
    page.run("document.querySelector('#tests > tbody:not([hidden]) .open').click()")

    ratios = page.run(CONTRAST, ["--ink", "--soft", "--accent", "--bad", "--good"])
    assert min(ratios) >= 4.5, ratios


CONTRAST = """
const style = getComputedStyle(document.documentElement);
const light = name => {
  const hex = style.getPropertyValue(name).trim().slice(1);
  const parts = [0, 2, 4].map(i => parseInt(hex.slice(i, i + 2), 16) / 255);
  const linear = parts.map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
return arguments[0].flatMap(name => ['--paper', '--shade'].map(back => {
  const pair = [light(name), light(back)].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}));
"""


def test_a_narrow_screen_needs_no_sideways_scrolling(page):
    page.post("/window/rect", {"width": 500, "height": 1600})
    page.run("document.querySelectorAll('#tests > tbody:not([hidden]) .open').forEach(button => button.click())")

    assert page.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.fixture
def plantings(session):
    verdicts = {"test_p.py::test_blind": (SURVIVED, KILLED), "test_p.py::test_sharp": (KILLED, KILLED)}
    session.plantings = Plantings(
        faults=("noop-step", "zero-lr"),
        scored=("noop-step",),
        tests=[
            Planted(id=name, cells={"noop-step": Cell(verdict=first), "zero-lr": Cell(verdict=second, how="assert 0")})
            for name, (first, second) in verdicts.items()
        ],
    )


@pytest.fixture
def matrix(plantings, page):
    return page


def rows(matrix):
    return matrix.run(
        "return [...document.querySelectorAll('#matrix > tbody:not([hidden])')].map(row => row.dataset.id)"
    )


def test_the_matrix_shows_survivors_and_filters_by_fault_and_verdict(matrix):
    assert rows(matrix) == ["test_p.py::test_blind"]
    change = "arguments[0].forEach(([id, value]) => { const one = document.getElementById(id); one.value = value;"
    change += " one.dispatchEvent(new Event('input', {bubbles: true})); })"

    matrix.run(change, [["planted-verdict", "killed"]])
    assert rows(matrix) == ["test_p.py::test_blind", "test_p.py::test_sharp"]

    matrix.run(change, [["planted-fault", "0"]])
    assert rows(matrix) == ["test_p.py::test_sharp"]

    matrix.run(change, [["planted-words", "blind"]])
    assert rows(matrix) == []
    assert matrix.run("return !document.getElementById('planted-none').hidden")
    assert matrix.errors() == []


def test_the_keyboard_opens_a_row_of_the_matrix(matrix):
    text = opened_by_key(matrix, "#matrix")
    assert "green with noop-step: optimizer.step() changes no weight" in text
    assert "zero-lr: assert 0" in text


def test_a_narrow_screen_scrolls_the_matrix_alone(matrix):
    matrix.post("/window/rect", {"width": 500, "height": 1600})

    assert matrix.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
