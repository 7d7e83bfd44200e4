"""The page in a real Chromium, over a stream that a test makes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lvslab.core.waiting import until
from lvslab.lab.faults import Fault
from lvslab.model.lab import Lab
from lvslab.watch.sights import FaultsSeen, LabCame, LabWent
from tests.watching import (
    BLACK,
    CHROMIUM,
    ORANGE,
    TOKEN,
    WHITE,
    Page,
    Story,
    Telling,
    chromium,
    complaints,
    note_black,
    pill,
    served,
)

pytestmark = [pytest.mark.slow, CHROMIUM]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as this:
        yield this


@pytest.fixture
def page(lab: Lab, browser: Chrome) -> Iterator[Page]:
    """A page that is open in the browser, drawn; everybody is at home."""
    with served() as this:
        now = time.monotonic()
        this.tell(*Story(lab).came(now), *Story(lab).beat(now))
        browser.get(this.url)
        assert until(
            lambda: browser.execute_script("return document.documentElement.dataset.epoch"), 20
        )
        browser.execute_script("localStorage.clear()")
        yield this
        assert complaints(browser) == []


def text(browser: Chrome, selector: str) -> str:
    """The words of the first element that the selector finds; empty if there is none."""
    code = "const e = document.querySelector(arguments[0]); return e ? e.textContent : ''"
    return str(browser.execute_script(code, selector))


def test_a_director_that_dies_turns_orange_into_black(
    page: Page, browser: Chrome, lab: Lab
) -> None:
    story = Story(lab)
    with Telling(page, story):
        assert until(lambda: pill(browser, "lvs1", "VI_1")[0] == BLACK, 10)
        assert pill(browser, "lvs2", "VI_1") == (ORANGE, WHITE, "lvs2 waits for 192.168.50.1")
        black = note_black(browser, "lvs2", "VI_1")
        time.sleep(1)
        assert black() is None, "the control: while all is well nothing turns"
        before = time.time()
        story.off.add("lvs1")
        assert until(black, 5)
        assert 0 < (black() or 0) - before < 5
        assert pill(browser, "lvs2", "VI_1")[2] == "lvs2 has 192.168.50.1"
        assert pill(browser, "lvs1", "VI_1")[2] == "lvs1 is off and lost 192.168.50.1"
        assert text(browser, "#state") == "lvs1 is off"
        assert text(browser, "tr[data-row=VI_1] td") == "lvs2 (backup)"
        assert "✕ off" in text(browser, "#drawing")
        assert until(lambda: "after the last advert of lvs1" in text(browser, "#log"), 5)


def test_strips_rates_and_checklist_are_shown(page: Page, browser: Chrome, lab: Lab) -> None:
    story = Story(lab)
    with Telling(page, story):
        assert until(lambda: text(browser, "tr[data-row=rs1] .number").startswith("13."), 10)
        assert until(lambda: "connections/s" in text(browser, "#drawing"), 5)
        assert text(browser, "#check") == "all 28 checks pass"
        assert until(lambda: "none lost" in text(browser, ".strip .said"), 5)
        story.off |= {"rs1", "rs2"}
        assert until(lambda: "lost" in text(browser, ".strip .trouble"), 5)
        crosses = "return document.querySelectorAll('.strip .lost[visibility=inherit]').length"
        assert until(lambda: browser.execute_script(crosses) > 0, 5)


def test_a_pulled_cable_is_dashed_and_says_so(page: Page, browser: Chrome) -> None:
    broken = (Fault("carrier", "lvs1", "eth1"), Fault("silent", "rs1", "eth2"))
    page.tell(FaultsSeen(time.monotonic(), broken))
    dashes = (
        "return getComputedStyle(document.querySelector("
        "'polyline.wire[data-node=lvs1][data-interface=eth1]')).strokeDasharray"
    )
    assert until(lambda: browser.execute_script(dashes) != "none", 5)
    assert "✕ pulled" in text(browser, "#drawing") and "✕ silent" in text(browser, "#drawing")
    page.tell(FaultsSeen(time.monotonic(), ()))
    assert until(lambda: browser.execute_script(dashes) == "none", 5)


def test_buttons_need_the_token(page: Page, browser: Chrome) -> None:
    kill = browser.find_element(By.CSS_SELECTOR, "[data-press='lvs1: kill']")
    assert not kill.is_enabled()
    browser.find_element(By.TAG_NAME, "body").send_keys("h")
    unlock(browser, "wrong")
    assert until(lambda: "not the token" in text(browser, "#answer"), 5)
    assert not browser.find_element(By.CSS_SELECTOR, "[data-press=heal]").is_enabled()
    # the browser itself reports an answer of status 403
    assert all("403" in complaint for complaint in complaints(browser))
    unlock(browser, TOKEN)
    assert until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-press=heal]").is_enabled(), 5)
    assert TOKEN not in browser.page_source and TOKEN not in browser.current_url
    assert not browser.find_element(By.ID, "lock").is_displayed()
    browser.find_element(By.CSS_SELECTOR, "[data-press='lvs1: kill']").click()
    assert until(lambda: page.pressed == ["lvs1: kill"], 5)
    assert until(lambda: text(browser, "#answer") == "done: lvs1: kill", 5)


def unlock(browser: Chrome, token: str) -> None:
    browser.find_element(By.ID, "token").send_keys(token + Keys.ENTER)


def test_keys_and_views(page: Page, browser: Chrome) -> None:
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys("p")
    assert not browser.find_element(By.CSS_SELECTOR, ".faults").is_displayed()
    assert browser.find_element(By.ID, "strips").is_displayed()
    body.send_keys("p")
    assert browser.find_element(By.CSS_SELECTOR, ".faults").is_displayed()
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(ground)
    body.send_keys("d")
    assert browser.execute_script(ground) != light
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    assert ink == "rgb(241, 243, 246)", "black is white in the dark"
    body.send_keys("d")
    body.send_keys("3")
    assert text(browser, "#nodes [aria-pressed=true]").startswith("rs1")
    assert browser.find_elements(By.CSS_SELECTOR, "[data-press='rs1: stop apache2']")
    body.send_keys("?")
    assert browser.find_element(By.ID, "keys").is_displayed()
    browser.find_element(By.CSS_SELECTOR, "#keys button").click()
    assert not browser.find_element(By.ID, "keys").is_displayed()


def test_everything_has_a_name_for_who_does_not_see_it(page: Page, browser: Chrome) -> None:
    nameless = browser.execute_script(
        "const all = document.querySelectorAll('button, input, [role=img], section');"
        "return [...all].filter((e) => {"
        "  const by = e.getAttribute('aria-labelledby');"
        "  const name = e.getAttribute('aria-label') || e.textContent.trim()"
        "    || (by && document.getElementById(by).textContent)"
        "    || (e.labels && e.labels.length && e.labels[0].textContent);"
        "  return !name; }).map((e) => e.outerHTML)"
    )
    assert nameless == []


def test_a_lab_that_is_gone_says_so_and_comes_back(page: Page, browser: Chrome, lab: Lab) -> None:
    page.tell(LabWent(time.monotonic()))
    assert until(lambda: text(browser, "#state") == "the lab is gone", 5)
    other = lab.model_copy(update={"name": "second"})
    page.tell(LabCame(time.monotonic(), other, 0.0))
    assert until(lambda: text(browser, "#name") == "second", 5)
    epoch = str(page.hub.scene.shown["lab"]["epoch"])
    drawn = "return document.documentElement.dataset.epoch"
    assert until(lambda: browser.execute_script(drawn) == epoch, 5)


def test_the_policy_lets_no_stranger_s_script_or_style_in(page: Page, browser: Chrome) -> None:
    """The control: what the policy must refuse is refused, and the test would see it."""
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.stranger = 1';"
        "document.head.append(s);"
        "const i = new Image(); i.src = 'http://192.0.2.1/x.png'; document.body.append(i);"
        "document.body.setAttribute('style', 'color: red')"
    )
    assert browser.execute_script("return window.stranger ?? null") is None
    said: list[str] = []

    def heard() -> int:
        said.extend(complaints(browser))
        return len(said)

    assert until(heard, 5, good=lambda count: count == 3) == 3
    assert all("Content Security Policy" in complaint for complaint in said)


def test_a_late_page_is_drawn_as_the_early_one(
    page: Page, browser: Chrome, lab: Lab, tmp_path: Path
) -> None:
    story = Story(lab, off={"lvs2"})
    with Telling(page, story):
        assert until(lambda: pill(browser, "lvs1", "VI_3")[1] == BLACK, 5)
        with chromium(tmp_path / "late") as late:
            late.get(page.url)
            assert until(
                lambda: late.execute_script("return document.documentElement.dataset.epoch"), 20
            )
            for node in ("lvs1", "lvs2"):
                for instance in lab.vrrp_instances:
                    assert pill(late, node, instance) == pill(browser, node, instance)
            assert text(late, "#log") == text(browser, "#log")
