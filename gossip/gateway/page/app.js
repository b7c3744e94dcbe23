// The page, put together.
//
//   /v1/watch ──events──▶ store ──what changed──▶ once a frame: tables, overlay, events, figures
//   /v1/instances, members, events, status: at the start and after a RESYNC; /v1/overlay, the ring: a moment after a change

import { call, followState, get, token, Unauthorized } from "./api.js";
import { byId, el, mark, say } from "./dom.js";
import { Catalogue } from "./catalogue.js";
import { EventsView, subjectOf } from "./events.js";
import { OverlayView } from "./overlay.js";
import { RingView } from "./ring.js";
import { Store, isGone, isOwn } from "./store.js";
import { Stream } from "./stream.js";
import { WhyDialog } from "./why.js";
import { follow, go, place } from "./address.js";
import { percent, plural } from "./words.js";
import { setUpTheme } from "./theme.js";
import { Later } from "./later.js";

const STATUS_MS = 5000;
const DRAW_MS = 100;
const PULSES_MAX = 3; // in one drawing; when all tell something, none stands out
const PULSES_INSTANCES_MAX = 500; // in a larger cluster they are half of what a change costs
const SAID_MS = 3000; // the screen reader is spoken to at most so often
const STATES = {
  isolated: "This gateway hears nobody it should hear. What stands here is the last it knew, and may be old.",
  alone: "All others are gone from where this gateway stands. If they run, a network between them does not.",
  joining: "This gateway is joining; what stands here may not be all yet.",
};

const store = new Store();
const why = (name) => go({ why: name }, { step: true });
const catalogue = new Catalogue(store, { onWhy: why, onService: (service) => go({ service, tab: "" }, { step: true }) });
const overlay = new OverlayView(byId("overlay"), byId("overlay-caption"), { onWhy: why, onWanted: (id) => askLinks(id) });
const ring = new RingView(byId("ring"), byId("shares"), byId("key-answer"), { onWhy: why });
const events = new EventsView(byId("events"), byId("events-none"), { onWhy: why });
const story = new WhyDialog(store, { onClose: () => go({ why: "" }) });

let waiting = null; // events that came while a snapshot was fetched
let missed = false; // whether some of them were lost: then it may be of before those
let [frame, timer, drawn] = [0, 0, 0];
let known = place();

// what comes in ------------------------------------------------------------------------------------------------------

const stream = new Stream({
  onEvent(event) {
    if (event.kind === "RESYNC" && waiting) missed = true;
    else if (event.kind === "RESYNC") load();
    else if (waiting) waiting.push(event);
    else take(event);
  },
  onOpen(resumed) {
    byId("door").close();
    if (!resumed || !store.status) load();
    else refreshStatus();
  },
  onState: showConnection,
  onUnauthorized: askToken,
});

function take(event) {
  store.apply(event);
  announce(event);
  schedule();
}

/** Everything anew. What the stream brings meanwhile waits, and is applied after it. */
async function load() {
  if (waiting) return;
  [waiting, missed] = [[], false];
  try {
    const [instances, members, past, status] = await Promise.all([
      get("/v1/instances", { state: "any" }), get("/v1/members", { include_dead: true }), get("/v1/events"), get("/v1/status"),
    ]);
    store.load({ instances, members, events: past, status });
    document.body.classList.add("loaded");
  } catch (error) {
    if (error instanceof Unauthorized) askToken(error.message);
    else setTimeout(load, 1000);
  } finally {
    const came = waiting;
    waiting = null;
    came.forEach(take);
    schedule();
    if (missed) load();
  }
}

const refreshStatus = new Later(0, async () => {
  store.status = await get("/v1/status");
  store.dirty.figures = true;
  schedule();
}).soon;

const refreshStory = new Later(250, () => story.refresh()).soon;

const refreshOverlay = new Later(250, async () => overlay.computed(await get("/v1/overlay"))).soon;

const askLinks = (id) => get("/v1/overlay", { member: id }).then((answer) => overlay.computed(answer), () => {});

const refreshRing = new Later(250, async () => {
  const service = ringService();
  say(byId("ring-heading"), service ? `Ring of ${service}` : "Ring");
  const counts = store.services.get(service);
  byId("ring-none").hidden = Boolean(counts?.up);
  for (const id of ["key-form", "ring"]) byId(id).toggleAttribute("hidden", !counts?.up);
  if (!counts?.up) {
    const none = service ? "No instance of it may be used now." : "Where something runs, its ring is drawn here.";
    say(byId("ring-none"), none);
    ring.clear();
    return;
  }
  const answer = await get(`/v1/services/${encodeURIComponent(service)}/ring`, { key: known.key || undefined });
  if (service === ringService()) ring.draw(answer);
}).soon;

/** The chosen service, or the largest that is somebody's; then that, as long as it is there. */
function ringService() {
  if (known.service) return known.service;
  if (store.services.get(ring.service)?.up && !isOwn(ring.service)) return ring.service;
  const theirs = [...store.services].filter(([name, { up }]) => !isOwn(name) && up > 0);
  theirs.sort(([name, one], [title, other]) => other.up - one.up || (name < title ? -1 : 1));
  return theirs[0]?.[0] ?? "";
}

// what is drawn ------------------------------------------------------------------------------------------------------

/** Draw with the next frame, but not again within a moment: a thousand changes in a second are ten drawings. */
function schedule() {
  if (frame || timer) return;
  const pause = drawn + DRAW_MS - performance.now();
  if (pause > 0) timer = setTimeout(request, pause);
  else request();
}

function request() {
  timer = 0;
  frame = requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  drawn = performance.now();
  const dirty = store.taken();
  if (store.status) overlay.setSelf(store.status.id);
  catalogue.update(dirty);
  if (dirty.members.size) {
    overlay.update(store, dirty.members);
    catalogue.rename(dirty.members);
    refreshOverlay();
  }
  overlay.relabel(dirty.origins);
  const few = dirty.pulses.size <= PULSES_MAX && store.instances.size <= PULSES_INSTANCES_MAX;
  if (few) dirty.pulses.forEach((id) => overlay.pulse(id));
  if (dirty.events) {
    events.show(store, known.kind, matcher());
    refreshStory();
  }
  if (dirty.services.has(ringService()) || (!ring.service && dirty.services.size)) refreshRing();
  if (dirty.figures) drawFigures();
}

function drawFigures() {
  const members = [...store.members.values()];
  const alive = members.filter((one) => !isGone(one)).length;
  const suspected = members.filter((one) => one.state === "SUSPECTED").length;
  const services = [...store.services];
  const theirs = services.filter(([name]) => !isOwn(name)).length;
  const total = services.reduce((sum, [, counts]) => sum + counts.total, 0);
  const up = services.reduce((sum, [, counts]) => sum + counts.up, 0);
  figure("peers", alive.toLocaleString(), suspected ? `${suspected} suspected` : "all well", suspected ? "warn" : "");
  figure("services", theirs.toLocaleString(), services.length > theirs ? `and ${services.length - theirs} of the registry` : "");
  const usable = up < total ? `${total - up} not usable now` : "all usable";
  figure("instances", total.toLocaleString(), usable, up < total ? "warn" : "");
  const status = store.status;
  if (!status) return;
  if (status.members > 1) {
    const agreed = status.agreement >= 1;
    const word = agreed ? "all see the same" : "of neighbours see the same";
    figure("agreement", percent(status.agreement).replace(".0 ", " "), word, agreed ? "" : "warn");
  } else {
    figure("agreement", "–", "nobody to agree with");
  }
  figure("self", store.nameOf(status.id), status.address);
  say(byId("cluster"), status.cluster);
  document.title = `${status.cluster} · ${plural(alive, "peer")} · gossip`;
  byId("welcome").hidden = !(theirs === 0 && alive <= 1);
}

function figure(name, text, more, mood = "") {
  say(byId(`figure-${name}`), text);
  say(byId(`figure-${name}-more`), more);
  mark(byId(`figure-${name}-more`), "class", `more ${mood}`);
}

function showConnection(state, pause) {
  const words = {
    connecting: "connecting", live: "live", paused: "paused while hidden", locked: "token needed",
    waiting: `lost; again in ${Math.max(1, Math.round((pause ?? 0) / 1000))} s`,
  };
  const pill = byId("connection");
  if (pill.dataset.state === "waiting" && state === "connecting") return; // it says so already
  if (state === "live" && pill.dataset.state === "waiting") speak("Connected again.");
  if (state === "waiting" && pill.dataset.state === "live") speak("The connection to the gateway is lost. Trying again.");
  pill.dataset.state = state;
  say(pill.lastElementChild, words[state]);
  document.body.classList.toggle("old", state === "waiting");
}

followState((state) => {
  const notice = byId("notice");
  notice.hidden = !(state in STATES);
  say(notice, STATES[state] ?? "");
});

// what is chosen -----------------------------------------------------------------------------------------------------

function matcher() {
  const words = known.q.toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => {
    const lower = text.toLowerCase();
    return words.every((word) => lower.includes(word));
  };
}

function arrive(now) {
  const before = known;
  known = now;
  const all = before === now;
  const changed = (name) => all || before[name] !== now[name];
  if (changed("service") || changed("q")) catalogue.show(now.service, matcher());
  if (changed("q") || changed("kind")) events.show(store, now.kind, matcher());
  if (changed("service") || changed("key")) refreshRing();
  if (changed("tab")) showTab(now.tab === "members" ? "members" : "instances");
  if (changed("why")) story.show(now.why);
  for (const [id, text] of [["filter", now.q], ["key", now.key]]) if (byId(id).value !== text) byId(id).value = text;
  for (const button of document.querySelectorAll("[data-choice]")) {
    mark(button, "aria-pressed", String(button.dataset.choice === now.kind));
  }
}

function showTab(name) {
  for (const one of ["instances", "members"]) {
    const tab = byId(`tab-${one}`);
    mark(tab, "aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
    byId(`panel-${one}`).hidden = one !== name;
  }
}

function setUpChoices() {
  byId("filter").addEventListener("input", (event) => go({ q: event.target.value }));
  byId("key").addEventListener("input", (event) => go({ key: event.target.value }));
  byId("key-form").addEventListener("submit", (event) => event.preventDefault());
  const tabs = ["instances", "members"];
  for (const name of tabs) {
    byId(`tab-${name}`).addEventListener("click", () => go({ tab: name === "members" ? name : "" }, { step: true }));
    byId(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = tabs[1 - tabs.indexOf(name)];
      go({ tab: other === "members" ? other : "" });
      byId(`tab-${other}`).focus();
    });
  }
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => go({ kind: button.dataset.choice }));
  }
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    event.preventDefault();
    byId("filter").select();
  });
}

function setUpCommands() {
  const body = `{"service": "orders", "host": "127.0.0.1", "port": 8080}`;
  say(byId("welcome-curl"), `curl ${location.origin}/v1/register -H "Content-Type: application/json" -d '${body}'`);
  for (const command of document.querySelectorAll(".command")) {
    const button = el("button", { type: "button" }, "Copy");
    button.onclick = async () => {
      await navigator.clipboard?.writeText(command.firstElementChild.textContent);
      say(button, "Copied");
      setTimeout(() => say(button, "Copy"), 1500);
    };
    command.append(button);
  }
}

// the token ----------------------------------------------------------------------------------------------------------

function askToken(text) {
  showConnection("locked");
  token.drop();
  say(byId("door-wrong"), text);
  if (!byId("door").open) byId("door").showModal();
}

byId("door").addEventListener("cancel", (event) => event.preventDefault());
byId("door-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  try {
    await call("/v1/services");
    byId("token").value = "";
    byId("door").close();
    stream.start();
  } catch (error) {
    askToken(error.message);
  }
});

// what is spoken -----------------------------------------------------------------------------------------------------

const spoken = [];
const saySoon = new Later(SAID_MS, async () => {
  say(byId("said"), spoken.length > 3 ? `${spoken.length} things happened. ${spoken.at(-1)}` : spoken.join(" "));
  spoken.length = 0;
}).soon;

function speak(text) {
  spoken.push(text);
  saySoon();
}

/** Only what one would want to be interrupted by. */
function announce(event) {
  if (!["MEMBER_DEAD", "MEMBER_SUSPECTED", "MEMBER_LEFT"].includes(event.kind)) return;
  const words = { MEMBER_DEAD: "is dead", MEMBER_SUSPECTED: "is suspected", MEMBER_LEFT: "left" };
  speak(`${subjectOf(event, store)?.shown} ${words[event.kind]}.`);
}

// the beginning ------------------------------------------------------------------------------------------------------

setUpTheme(byId("theme"));
setUpChoices();
setUpCommands();
follow(arrive);
arrive(known);
stream.start();
setInterval(() => {
  if (document.hidden) return;
  catalogue.age();
  store.tidy();
}, 1000);
setInterval(() => {
  if (!document.hidden && byId("connection").dataset.state === "live") refreshStatus();
}, STATUS_MS);
