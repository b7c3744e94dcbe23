// The ring of one service: whose which part of it is, the shares beside it, and where a typed key lands.

import { el, mark, say, svg } from "./dom.js";
import { percent, plural } from "./words.js";
import { Colours } from "./colours.js";

const [OUTER, INNER] = [100, 72];
const LISTED_MAX = 9;

export class RingView {
  constructor(element, shares, answer, { onWhy }) {
    Object.assign(this, { element, shares, answer, onWhy });
    this.colours = new Map(); // service -> Colours
    this.arcs = svg("g", { class: "arcs" });
    this.count = svg("text", { class: "count", y: 2 });
    this.under = svg("text", { class: "under", y: 20 });
    const needle = [svg("path", { d: `M0 ${-INNER + 6} V${-OUTER - 8}` }), svg("circle", { cy: -OUTER - 11, r: 4 })];
    this.marker = svg("g", { class: "marker", hidden: "" }, ...needle);
    mark(element, "viewBox", "-122 -122 244 244");
    element.append(this.arcs, this.count, this.under, this.marker);
  }

  /** Nothing to draw. */
  clear() {
    this.service = "";
    this.arcs.replaceChildren();
    this.shares.replaceChildren();
    this.marker.setAttribute("hidden", "");
    say(this.count, "");
    say(this.under, "");
    say(this.answer, "");
    mark(this.element, "aria-label", "No ring");
  }

  /** What the gateway says of the ring, and of a key if one was asked for. */
  draw({ service, instances, places, key }) {
    if (!this.colours.has(service)) this.colours.set(service, new Colours());
    const colours = this.colours.get(service);
    colours.keep(new Set(instances.map(({ id }) => id)));
    const hue = instances.map(({ id }) => colours.of(id));
    if (places.length) this.#drawArcs(places, hue);
    this.service = service;
    say(this.count, instances.length.toLocaleString());
    say(this.under, instances.length === 1 ? "instance" : "instances");
    this.#list(instances, hue);
    this.#place(key);
    const most = [...instances].sort((one, other) => other.share - one.share).slice(0, 3);
    const told = most.map(({ id, share }) => `${id} ${percent(share)}`).join(", ");
    mark(this.element, "aria-label", `The ring of ${service}: ${plural(instances.length, "instance")}; ${told}`);
  }

  #drawArcs(places, hue) {
    const paths = hue.map(() => []);
    let start = 0;
    for (let at = 1; at <= places.length; at += 1) {
      if (at < places.length && places[at] === places[start]) continue;
      paths[places[start]]?.push(arc(start / places.length, at / places.length));
      start = at;
    }
    const made = paths.map((path, owner) => svg("path", { d: path.join(""), class: `arc ${hue[owner]}`, "data-owner": owner }));
    this.arcs.replaceChildren(...made);
  }

  #list(instances, hue) {
    const weight = instances.reduce((sum, one) => sum + one.weight, 0);
    const order = instances.map((one, at) => at).sort((one, other) => instances[other].share - instances[one].share);
    const widest = Math.max(...instances.map((one) => Math.max(one.share, one.weight / weight)));
    const row = (at) => this.#row(instances[at], hue[at], measure(instances[at], weight, widest), at);
    const rows = order.slice(0, LISTED_MAX).map(row);
    if (order.length > LISTED_MAX) {
      const rest = order.slice(LISTED_MAX).reduce((sum, at) => sum + instances[at].share, 0);
      rows.push(el("li", { class: "rest" }, `and ${order.length - LISTED_MAX} more, with ${percent(rest)} together`));
    }
    this.shares.replaceChildren(...rows);
  }

  #row({ id, weight, share }, hue, { due, scale }, owner) {
    const name = el("button", { type: "button", class: "link" }, id);
    name.onclick = () => this.onWhy(`${this.service}/${id}`);
    const bar = svg("svg", { class: "share", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "track", width: 100, height: 4 }), svg("rect", { class: hue, width: share * scale, height: 4 }),
      svg("rect", { class: "due", x: due * scale - 0.6, width: 0.6, height: 4 }));
    const told = el("small", { title: "what its weight alone would give it" }, `weight ${weight}, due ${percent(due)}`);
    const row = el("li", {}, el("i", { class: hue }), name, told, el("b", {}, percent(share)), bar);
    row.addEventListener("pointerenter", () => this.#lift(owner));
    row.addEventListener("pointerleave", () => this.#lift(-1));
    return row;
  }

  #lift(owner) {
    this.arcs.classList.toggle("dimmed", owner >= 0);
    for (const path of this.arcs.children) path.classList.toggle("lifted", Number(path.dataset.owner) === owner);
  }

  #place(key) {
    this.marker.toggleAttribute("hidden", !key);
    if (!key) {
      say(this.answer, "");
      return;
    }
    mark(this.marker, "transform", `rotate(${(key.place * 360).toFixed(2)})`);
    const next = key.stand_ins.length ? `; if that is gone, ${key.stand_ins.join(", then ")}` : "";
    this.answer.replaceChildren(el("b", {}, key.owner), next);
  }
}

/** What an instance is due by weight, and how long a bar is per share. */
function measure(instance, total, widest) {
  return { due: instance.weight / total, scale: 100 / widest };
}

/** A piece of the band, from and to a part of the whole turn, clockwise from the top. */
function arc(from, to) {
  if (to - from > 0.5) return arc(from, (from + to) / 2) + arc((from + to) / 2, to);
  const [a, b] = [from, to].map((part) => part * 2 * Math.PI - Math.PI / 2);
  const point = (angle, radius) => `${(Math.cos(angle) * radius).toFixed(2)} ${(Math.sin(angle) * radius).toFixed(2)}`;
  const [there, back] = [`A${OUTER} ${OUTER} 0 0 1 ${point(b, OUTER)}`, `A${INNER} ${INNER} 0 0 0 ${point(a, INNER)}`];
  return `M${point(a, OUTER)}${there}L${point(b, INNER)}${back}Z`;
}

