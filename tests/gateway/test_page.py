"""The live page, in a real browser: what happens in the cluster is on it, for every eye and ear, and is nothing but text.

Needs Debian's `chromium`; without it these tests are skipped, and say so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import DEADLINE_S, ROOT, Door, Street, clean_environment, end, until

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make test installs it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python: make test installs it")

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PATIENCE_MS = DEADLINE_S * 1000
HOSTILE = "<img src=x onerror=\"window.owned=1\"><script>window.owned=1</script>"
UNHAPPY = "violations"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")

Page = Any
Look = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests of this file, with a new empty profile; each page has a context of its own."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Any) -> Iterator[Look]:
    """Opens the page of a gateway, live. In the end no page may have had a fault, or asked for anything elsewhere."""
    pages: list[tuple[Page, str]] = []
    faults: list[str] = []

    def open(url: str, hash: str = "", *, live: bool = True, **context: Any) -> Page:
        page = browser.new_context(viewport={"width": 1280, "height": 900} | context.pop("viewport", {}), **context).new_page()
        page.set_default_timeout(PATIENCE_MS)
        sync_api.expect.set_options(timeout=PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(f"{error}"))
        page.on("console", lambda said: faults.append(said.text) if is_fault(said) else None)
        page.on("request", lambda asked: None if asked.url.startswith(url) else faults.append(f"asked for {asked.url}"))
        pages.append((page, url))
        page.goto(f"{url}/{hash}")
        if live:
            state(page, "live")
        return page

    yield open
    for page, _ in pages:
        page.context.close()
    assert faults == []


def is_fault(said: Any) -> bool:
    """An error of the page's own, not that a gateway that is down did not answer, or asked for its token."""
    return said.type in ("error", "warning") and not said.text.startswith("Failed to load resource")


def state(page: Page, word: str) -> None:
    page.locator(f'#connection[data-state="{word}"]').wait_for()


def shows(page: Page, selector: str, text: str) -> Any:
    """Wait until an element that the selector finds has this text."""
    found = page.locator(selector, has_text=text).first
    found.wait_for()
    return found


class Runner:
    """A process of its own with a peer in it: `gossip run`."""

    def __init__(self, street: Street, service: str, port: int) -> None:
        command = [sys.executable, "-m", "gossip.cli.main", "run", service, "--port", str(port), "--name", f"{service}-host"]
        command += ["--cluster", street.cluster, "--bind", "127.0.0.1:0", "--seeds", street.doors[0].seed]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
        )

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)


@pytest.fixture
def runner(street: Street) -> Iterator[Callable[[str, int], Runner]]:
    started: list[Runner] = []

    def start(service: str, port: int) -> Runner:
        started.append(Runner(street, service, port))
        return started[-1]

    yield start
    for one in started:
        end(one.process)


# what happens is on the page ------------------------------------------------------------------------------------------


def test_a_registration_and_a_kill_are_seen_by_all_who_look(street: Street, runner: Any, look: Look) -> None:
    door, other = street.open("--name", "first"), street.open("--name", "second")
    pages = [look(door.url), look(other.url)]
    victim = runner("orders", 8080)
    for page in pages:
        shows(page, "#instances tr", "127.0.0.1:8080")
        shows(page, "#services button", "orders")
        shows(page, "#overlay .node.alive", "orders-host")
    victim.kill()
    for page in pages:
        shows(page, "#events li.bad", "dead")
        shows(page, "#events li.bad", "removed")
        node = shows(page, "#overlay .node.dead", "orders-host")
        red, green, blue = (int(part) for part in node.locator(".dot").evaluate(COLOUR))
        assert red > 2 * max(green, blue)
        page.locator("#instances tr", has_text="127.0.0.1:8080").wait_for(state="detached")
    page = pages[0]
    shows(page, "#events li.bad .link", "orders-host").click()
    shows(page, "#why-events li", "its links closed at")
    assert page.evaluate("new URLSearchParams(location.hash.slice(1)).get('why')").startswith("orders-host-")
    page.keyboard.press("Escape")
    page.locator("#why").wait_for(state="hidden")


COLOUR = """element => {
    for (const moving of element.getAnimations()) moving.finish();
    return getComputedStyle(element).fill.match(/\\d+/g);
}"""


def test_an_empty_cluster_says_what_to_do_until_somebody_comes(street: Street, look: Look) -> None:
    door = street.open()
    page = look(door.url)
    shows(page, "#welcome:not([hidden])", "gossip run orders --port 8080")
    assert door.url in page.locator("#welcome-curl").text_content()
    door.register("orders", 8080)
    page.locator("#welcome").wait_for(state="hidden")


def test_the_ring_says_whose_shares_are_what_and_where_a_key_lands(door: Door, look: Look) -> None:
    for port, weight in ((1, 1), (2, 1), (3, 2)):
        door.register("sessions", port, weight=weight)
    page = look(door.url, "#service=sessions")
    shows(page, "#ring-heading", "Ring of sessions")
    answer = door.get("/v1/services/sessions/ring?key=user:42").json()
    for one in answer["instances"]:
        shows(page, "#shares li", f"{one['id']}weight {one['weight']}").get_by_text(f"{one['share'] * 100:.1f} %").wait_for()
    page.locator("#key").fill("user:42")
    shows(page, "#key-answer b", answer["key"]["owner"])
    turned = page.locator("#ring .marker").get_attribute("transform")
    assert turned == f"rotate({answer['key']['place'] * 360:.2f})"
    door.post("/v1/drain", {"service": "sessions", "id": answer["key"]["owner"]})
    shows(page, "#key-answer b", answer["key"]["stand_ins"][0])
    shows(page, "#instances tr", "draining")


def test_the_page_finds_its_gateway_again(street: Street, look: Look) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    door = street.open("--listen", listen)
    door.register("before", 1)
    page = look(door.url)
    shows(page, "#instances tr", "before")
    end(door.process)
    shows(page, '#connection[data-state="waiting"]', "lost; again in")
    street.doors.clear()
    again = street.open("--listen", listen)
    again.register("after", 2)
    state(page, "live")
    shows(page, "#instances tr", "after")
    assert page.locator("#instances tr", has_text="before").count() == 0


def test_a_resync_while_everything_is_fetched_has_it_fetched_again(door: Door, browser: Any) -> None:
    door.register("orders", 8080)
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE_MS)
    asked, followed = [], []

    def watch(route: Any) -> None:
        followed.append(route)
        if len(followed) > 1:
            route.abort()
        else:
            told = '{"kind": "RESYNC", "seq": 1, "at": 1.0, "subject": null, "before": null, "after": null, "reason": "missed"}'
            route.fulfill(content_type="text/event-stream", body=f"id: 1-1\ndata: {told}\n\n")

    def instances(route: Any) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()

    page.route("**/v1/watch*", watch)
    page.route("**/v1/instances*", instances)
    page.goto(f"{door.url}/")
    state(page, "waiting")  # the stream told of the RESYNC, and ended
    until(lambda: page.evaluate("1") and asked, "the first fetch")
    asked[0].fulfill(json={"instances": [], "left_out": 0})  # of before the RESYNC
    shows(page, "#instances tr", "127.0.0.1:8080")
    page.context.close()


def test_the_token_is_asked_for_and_stays_in_the_tab(street: Street, look: Look) -> None:
    door = street.open(environment={"GOSSIP_GATEWAY_TOKEN": "of-the-house"}, token="of-the-house")
    door.register("guarded", 1)
    page = look(door.url, live=False)
    state(page, "locked")
    for given in ("not-that-one", "of-the-house"):
        page.locator("#token").fill(given)
        page.locator("#door button").click()
        if given != "of-the-house":
            shows(page, "#door-wrong", "does not know this token")
    state(page, "live")
    shows(page, "#instances tr", "guarded")
    assert "of-the-house" not in page.url
    assert page.evaluate("[JSON.stringify(localStorage), document.cookie]") == ["{}", ""]
    page.reload()
    state(page, "live")


# for everybody --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(street: Street, look: Look, scheme: str) -> None:
    door = street.open()
    page = look(door.url, color_scheme=scheme, reduced_motion="reduce")
    shows(page, "#welcome:not([hidden])", "Nobody is here yet")
    assert violations(page) == []
    for port in (1, 2, 3):
        door.register("orders", port, weight=port, labels={"version": "2"})
    door.post("/v1/drain", {"service": "orders", "id": "127.0.0.1:2"})
    peer = street.peer("other")
    peer.close(leave=False)
    shows(page, "#overlay .node", "dead")
    shows(page, "#shares li", "127.0.0.1:3")
    page.locator("#key").fill("user:42")
    page.locator("#key-answer b").wait_for()
    assert violations(page) == []
    page.locator("#tab-members").click()
    shows(page, "#members tr", "dead")
    page.locator("#members button").first.click()
    shows(page, "#why-events li", "joined")
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    found = axe.Axe().run(page).response[UNHAPPY]
    return [f"{one['id']}: {one['help']}: {node['html']}" for one in found for node in one["nodes"]]


def test_the_keyboard_reaches_everything(street: Street, look: Look) -> None:
    door = street.open("--name", "here")
    door.register("orders", 1)
    street.peer("a")
    street.peer("b")
    page = look(door.url)
    shows(page, "#overlay .node", "b")
    until(lambda: page.locator("#overlay .node:not([hidden])").count() == 3, "three peers are drawn")
    page.keyboard.press("/")
    page.keyboard.type("orders")
    assert page.locator("#filter").input_value() == "orders"
    until(lambda: page.evaluate("location.hash") == "#q=orders", "what is typed stands in the address")
    page.keyboard.press("Tab")
    page.locator("#overlay .node[tabindex='0']").focus()
    names = []
    for _ in range(3):
        names.append(page.evaluate("document.activeElement.querySelector('.name').textContent"))
        page.keyboard.press("ArrowRight")
    assert sorted(names) == ["a", "b", "here"]
    assert names[0] == page.evaluate("document.activeElement.querySelector('.name').textContent")  # once round
    page.keyboard.press("Enter")
    shows(page, "#why-heading", names[0])
    page.keyboard.press("Escape")
    page.locator("#tab-instances").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#panel-members").wait_for()
    assert page.evaluate("document.activeElement.id") == "tab-members"


def test_what_is_looked_at_stands_in_the_address(door: Door, look: Look) -> None:
    for service in ("orders", "payments"):
        door.register(service, 1)
    page = look(door.url, "#service=payments&key=user%3A1")
    shows(page, "#services button[aria-current]", "payments")
    shows(page, "#ring-heading", "Ring of payments")
    assert page.locator("#key").input_value() == "user:1"
    shows(page, "#services button", "orders").click()
    shows(page, "#services button[aria-current]", "orders")
    assert "service=orders" in page.url
    page.go_back()
    shows(page, "#services button[aria-current]", "payments")
    assert page.locator("#instances tbody tr").count() == 1
    page.evaluate("location.hash = '#q=payments'")
    until(lambda: page.locator("#services button[aria-current]").text_content().startswith("All"), "all services are chosen")
    assert page.locator("#instances tbody tr .service").all_text_contents() == ["payments"]


def test_nothing_sticks_out_of_a_narrow_screen(door: Door, look: Look) -> None:
    name = "a-service-with-a-name-that-is-longer-than-most-of-them"
    door.register(name, 1, id="i" * 128)
    page = look(door.url, f"#service={name}&key=user%3A1")
    shows(page, "#shares li", "i" * 20)
    for width in (320, 390, 768, 1024):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_the_colours_go_round_by_the_button_and_are_kept(door: Door, look: Look) -> None:
    page = look(door.url, color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").click()  # light
    page.locator("#theme").click()  # dark
    assert page.evaluate(paper) != light
    page.reload()
    assert page.evaluate(paper) != light
    page.get_by_role("button", name="Colours: dark").click()
    assert page.evaluate(paper) == light


# whatever the cluster says is text ------------------------------------------------------------------------------------


def test_hostile_words_stay_text(door: Door, look: Look) -> None:
    route = "/<img/src=x/onerror=window.owned=1>"
    door.register("hostile", 1, labels={HOSTILE: HOSTILE}, routes=[route])
    page = look(door.url, "#why=hostile/127.0.0.1:1", viewport={"width": 1800})
    shows(page, "#why-about", HOSTILE)
    shows(page, "#why-about", route)
    page.keyboard.press("Escape")
    shows(page, "#instances tr", HOSTILE)
    page.locator("#filter").fill(HOSTILE)
    page.locator("#key").fill(HOSTILE)
    page.locator("#key-answer b").wait_for()
    page.evaluate("hash => { location.hash = hash }", f"service={HOSTILE}&why={HOSTILE}&tab={HOSTILE}&kind={HOSTILE}")
    shows(page, "#why-heading", HOSTILE)
    assert page.evaluate("window.owned === undefined")
    assert page.evaluate("document.querySelectorAll('img, main script, dialog script').length") == 0


def test_the_browser_itself_refuses_markup_and_strange_scripts(door: Door, browser: Any) -> None:
    page = browser.new_context().new_page()
    page.goto(door.url)
    for attempt in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))",
    ):
        with pytest.raises(sync_api.Error, match="requires 'Trusted"):
            page.evaluate(f"() => {{ {attempt} }}")
    assert page.evaluate("window.owned === undefined")
    page.context.close()


# a thousand instances -------------------------------------------------------------------------------------------------


OBSERVE = """() => {
    window.touched = {};
    const note = (region, name) => new MutationObserver((records) => {
        for (const {target, addedNodes, removedNodes} of records) {
            const element = target.nodeType === 1 ? target : target.parentElement;
            const rows = element.closest("tr") ? [element.closest("tr")] : [...addedNodes, ...removedNodes];
            for (const row of rows) (window.touched[name] ??= new Set()).add(row.querySelector?.(".name").textContent ?? "?");
        }
    }).observe(document.querySelector(region), {subtree: true, childList: true, characterData: true, attributes: true});
    note("#instances tbody", "rows");
}"""
TOUCHED = "[...(window.touched.rows ?? [])].sort()"


def test_of_a_thousand_rows_only_those_that_changed_are_touched(street: Street, look: Look) -> None:
    door = street.open()
    held = []
    for name in "abcd":
        peer = street.peer(name)
        held += [peer.register(f"service-{n % 10}", port=1000 + n, id=f"{name}-{n:03}") for n in range(250)]
    page = look(door.url)
    until(lambda: page.locator("#instances tbody tr").count() >= 1000, "all rows are there")
    page.evaluate("performance.now = () => 0")  # ages stand still: they are another matter
    page.evaluate(OBSERVE)
    held[17].update(weight=7)
    shows(page, "#instances tr", "a-017").get_by_text("7", exact=True).wait_for()
    assert page.evaluate(TOUCHED) == ["a-017"]
    held[500].deregister()
    page.locator("#instances tr", has_text="c-000").wait_for(state="detached")
    assert page.evaluate(TOUCHED) == ["a-017", "c-000"]
    door.register("service-3", 9, id="newcomer")
    shows(page, "#instances tr", "newcomer")
    assert page.evaluate(TOUCHED) == ["a-017", "c-000", "newcomer"]
    assert page.locator("#events li").count() <= 120
