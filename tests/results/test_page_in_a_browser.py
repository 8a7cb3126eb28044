"""The demo's page in a real browser, as wide as a desk's and a telephone's."""

import csv
import shutil
import time
from pathlib import Path

import pytest

from ibsync.commands.demo import run_demo

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
WIDTHS = (1280, 390)
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs Chromium and its driver"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    run_demo(folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS.split(), f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    yield driver
    driver.quit()


def opened(browser, page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page)
    return browser


def test_nothing_is_said_on_the_console_and_nothing_flows_over(browser, page):
    for width in WIDTHS:
        opened(browser, page, width)
        assert browser.get_log("browser") == []
        whole, seen = browser.execute_script(
            "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
        )
        assert whole == seen <= width


def test_every_panel_is_drawn_and_stands_within_the_page(browser, page):
    for width in WIDTHS:
        boxes = opened(browser, page, width).execute_script(
            "return [...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().left, "
            "i.getBoundingClientRect().right])"
        )
        assert len(boxes) > 10
        assert all(natural > 0 and left >= 0 and right <= width for natural, left, right in boxes)


def test_no_cell_of_a_table_is_lost_on_a_telephone(browser, page):
    """p and p_max, which stand last, are seen without a movement to the side."""
    cells = opened(browser, page, 390).execute_script(
        "return [...document.querySelectorAll('td')].filter(c => !c.closest('.more')).map(c => "
        "[c.getBoundingClientRect().left, c.getBoundingClientRect().right, c.dataset.label || '', c.textContent])"
    )
    assert {"p", "p_max"} <= {label for *_, label, _ in cells}
    assert [cell for cell in cells if not (0 <= cell[0] < cell[1] <= 390)] == []


def test_tables_are_sorted_by_the_keyboard_filtered_and_saved(browser, page, downloads):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, page, 1280)
    table = browser.find_element(By.CSS_SELECTOR, "[data-name='smallest p-values']")
    tools = table.find_element(By.XPATH, "preceding-sibling::div[1]")
    head = [cell.text for cell in table.find_elements(By.TAG_NAME, "th")]

    def column(name):
        return browser.execute_script(
            "return [...arguments[0].tBodies[0].rows].filter(row => row.offsetParent)"
            ".map(row => row.cells[arguments[1]].innerText)",
            table.find_element(By.TAG_NAME, "table"),
            head.index(name),
        )

    assert len(column("p")) == 20
    button = table.find_elements(By.CSS_SELECTOR, "th button")[head.index("coherence")]
    button.send_keys(Keys.ENTER)
    assert column("coherence") == sorted(column("coherence"), key=float)
    button.send_keys(Keys.ENTER)
    assert column("coherence") == sorted(column("coherence"), key=float, reverse=True)
    assert float(column("coherence")[0]) > 0.5
    tools.find_element(By.TAG_NAME, "input").send_keys("coupled")
    assert set(column("band")) == {"coupled"}
    next(b for b in tools.find_elements(By.TAG_NAME, "button") if b.text == "Show all").click()
    assert len(column("band")) == 72
    next(b for b in tools.find_elements(By.TAG_NAME, "button") if b.text == "Save as CSV").click()
    saved = downloads / "smallest p-values.csv"
    for _ in range(100):
        if saved.exists():
            break
        time.sleep(0.05)
    with saved.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == head
    assert [row["coherence"] for row in rows] == column("coherence")


def test_axe_finds_nothing_serious(browser, page):
    """Contrast, labels, names, keyboard, by the rules of axe-core."""
    import axe_core_python

    script = Path(axe_core_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    for width in WIDTHS:
        opened(browser, page, width).execute_script(script)
        found = browser.execute_async_script("axe.run().then(arguments[0])")
        assert len(found["passes"]) > 15
        serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in serious] == []
