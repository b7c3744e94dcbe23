// The overlay: the members round their first ring, this gateway on top, and who subscribes to whom, as curves between them.
//
// A place is a rank on the ring, so it moves only when a neighbour comes or goes, and then it glides. The dead stay where they
// were, red, and fade; nobody moves up before they are gone.

import { el, mark, say, svg } from "./dom.js";
import { plural, shortened } from "./words.js";
import { isGone } from "./store.js";

const FADES_MS = { DEAD: 20_000, LEFT: 8_000 };
const GLIDE_MS = 450;
const LEVEL_MAX = 12; // names stand level beside so many, along the radius beyond
const NAMES_MAX = 64; // beyond, only those that matter are named
const MANY = 80; // beyond, peers are dots without a rim
const LINKS_MEMBERS_MAX = 200; // beyond, the links of one at a time
const SIZES = [[20, 7], [40, 6], [MANY, 4.5], [200, 3]]; // of a peer, where there are up to so many
const PULSES_MAX = 8;
const TIGHT_PX = 480; // narrower: second lines only where they matter
const BEND = 0.72; // of a link towards the middle; 1 is straight
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

export class OverlayView {
  constructor(element, caption, { onWhy, onWanted }) {
    Object.assign(this, { element, caption, onWhy, onWanted });
    this.nodes = new Map(); // id -> {id, group, parts, angle, from, target, member}
    this.places = new Map(); // id -> 0 … 1, also of those that are gone
    this.links = []; // [id, id]
    this.order = []; // the nodes round the ring, this gateway first
    this.self = "";
    this.focused = "";
    this.pulses = 0;
    this.size = { width: 0, height: 0, radius: 0 };
    this.allLinks = svg("path", { class: "links" });
    this.outLinks = svg("path", { class: "links out" });
    this.inLinks = svg("path", { class: "links in" });
    this.lost = svg("g"); // a path for each of the dead: the links it had
    this.layer = svg("g");
    element.append(svg("g", { "aria-hidden": "true" }, this.allLinks, this.lost, this.inLinks, this.outLinks), this.layer);
    new ResizeObserver(() => this.#resize()).observe(element);
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  /** What the gateway computed: places and links. */
  computed({ members, gone, links, members_left_out: leftOut }) {
    for (const { id, place } of [...members, ...gone]) this.places.set(id, place);
    const ids = members.map(({ id }) => id);
    this.links = links.map(([one, other]) => [ids[one], ids[other]]);
    this.partial = leftOut > 0;
    const there = new Set(ids);
    for (const id of this.places.keys()) if (!this.nodes.has(id) && !there.has(id)) this.places.delete(id);
    this.#arrange();
  }

  /** The members as they are now; `ids` those that changed. */
  update(store, ids) {
    this.store = store;
    const now = performance.now();
    for (const id of ids) {
      const member = store.members.get(id);
      if (!member || (isGone(member) && now - member.since > FADES_MS[member.state])) this.#drop(id);
      else this.#keep(id, member);
    }
    this.#arrange();
  }

  /** A member told something: a ring spreads from it. */
  pulse(id) {
    const node = this.nodes.get(id);
    if (!node?.at || STILL.matches || this.pulses >= PULSES_MAX || document.hidden) return;
    this.pulses += 1;
    const wave = el("div", { class: "wave" }); // beside the drawing, not in it: so it moves without drawing anything anew
    wave.style.left = `${this.size.width / 2 + node.at[0]}px`;
    wave.style.top = `${this.size.height / 2 + node.at[1]}px`;
    wave.addEventListener("animationend", () => {
      this.pulses -= 1;
      wave.remove();
    });
    this.element.parentElement.append(wave);
  }

  /** Redraw what the store says of the instances a member holds. */
  relabel(ids) {
    for (const id of ids) {
      const node = this.nodes.get(id);
      if (node) this.#label(node);
    }
  }

  #keep(id, member) {
    let node = this.nodes.get(id);
    if (!node) {
      node = this.#made(id);
      this.nodes.set(id, node);
    }
    const turned = node.member?.state !== member.state;
    node.member = member;
    if (turned) this.#turn(node, member);
    this.#label(node);
  }

  #turn(node, member) {
    clearTimeout(node.timer);
    mark(node.group, "class", `node ${member.state.toLowerCase()}${node.id === this.self ? " self" : ""}`);
    node.lost?.path.remove();
    node.lost = null;
    node.group.style.animationDelay = "";
    if (isGone(member)) {
      this.layer.append(node.group); // before all others
      const links = this.links.filter((link) => link.includes(node.id));
      node.lost = { links, path: svg("path", { class: `links lost ${member.state.toLowerCase()}` }) };
      this.lost.append(node.lost.path);
      const passed = performance.now() - member.since;
      for (const fading of [node.group, node.lost.path]) fading.style.animationDelay = `${-passed}ms`;
      node.timer = setTimeout(() => {
        this.#drop(node.id);
        this.#arrange();
      }, Math.max(0, FADES_MS[member.state] - passed));
    }
  }

  #made(id) {
    const parts = {
      halo: svg("circle", { class: "halo", r: 12 }),
      dot: svg("circle", { class: "dot", r: 7 }),
      cross: svg("path", { class: "cross", d: "M-3-3 3 3M3-3-3 3" }),
      name: svg("text", { class: "name" }),
      more: svg("text", { class: "more" }),
    };
    const group = svg("g", { role: "button", tabindex: "-1" }, svg("circle", { class: "reach", r: 16 }), ...Object.values(parts));
    group.addEventListener("click", () => this.onWhy(id));
    group.addEventListener("pointerenter", () => this.#focus(id));
    group.addEventListener("pointerleave", () => this.#focus(""));
    group.addEventListener("focus", () => this.#focus(id));
    group.addEventListener("blur", () => this.#focus(""));
    this.layer.append(group);
    return { id, group, parts, angle: null, target: 0 };
  }

  #drop(id) {
    const node = this.nodes.get(id);
    if (!node) return;
    clearTimeout(node.timer);
    node.group.remove();
    node.lost?.path.remove();
    this.nodes.delete(id);
    if (this.focused === id) this.#focus("");
  }

  // where everybody stands -------------------------------------------------------------------------------------------

  setSelf(id) {
    if (this.self === id) return;
    this.self = id;
    for (const node of this.nodes.values()) this.#turn(node, node.member);
    this.#arrange();
  }

  #arrange() {
    const placed = [...this.nodes.values()].filter(({ id }) => this.places.has(id) || id === this.self);
    placed.sort((one, other) => (this.places.get(one.id) ?? 0) - (this.places.get(other.id) ?? 0));
    const first = Math.max(0, placed.findIndex(({ id }) => id === this.self));
    this.order = [...placed.slice(first), ...placed.slice(0, first)];
    this.order.forEach((node, rank) => {
      node.target = (rank / this.order.length) * 2 * Math.PI - Math.PI / 2;
      node.from = node.angle ??= node.target;
    });
    for (const node of this.nodes.values()) node.group.toggleAttribute("hidden", !this.order.includes(node));
    if (!this.order.some(({ group }) => group.tabIndex === 0)) this.order[0]?.group.setAttribute("tabindex", "0");
    this.#describe();
    this.#resize(true);
    this.#glide();
  }

  #glide() {
    const moves = this.order.some((node) => node.from !== node.target);
    const began = performance.now();
    const step = () => {
      const part = STILL.matches || !moves ? 1 : Math.min(1, (performance.now() - began) / GLIDE_MS);
      const eased = 1 - (1 - part) ** 3;
      for (const node of this.order) node.angle = node.from + (node.target - node.from) * eased;
      this.#draw();
      if (part < 1) this.frame = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this.frame);
    step();
  }

  #resize(silent = false) {
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    const level = this.order.length <= LEVEL_MAX;
    const room = level ? 54 : 30 + 6.2 * this.#longest();
    if (!width) return;
    const tight = width < TIGHT_PX;
    const sides = level ? (tight ? 96 : 140) : room;
    const radius = this.order.length === 1 ? 0 : Math.max(40, Math.min(height / 2 - room, width / 2 - sides));
    this.element.classList.toggle("tight", tight);
    this.element.classList.toggle("many", this.order.length > MANY);
    if (width === this.size.width && height === this.size.height && radius === this.size.radius) return;
    this.size = { width, height, radius };
    mark(this.element, "viewBox", `${-width / 2} ${-height / 2} ${width} ${height}`);
    if (!silent) this.#draw();
  }

  #longest() {
    return Math.max(0, ...this.order.map(({ parts }) => parts.name.textContent.length));
  }

  #draw() {
    const count = this.order.length;
    for (const node of this.order) this.#put(node, count);
    this.#drawLinks();
  }

  #put(node, count) {
    const { radius } = this.size;
    const [x, y] = [Math.cos(node.angle) * radius, Math.sin(node.angle) * radius];
    node.at = [x, y];
    node.group.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    const gone = node.member.state === "DEAD" ? 2 : 0;
    const small = (SIZES.find(([most]) => count <= most)?.[1] ?? 1.6) + gone;
    mark(node.parts.dot, "r", String(small));
    mark(node.parts.halo, "r", String(small + 5));
    const { name, more } = node.parts;
    if (count <= LEVEL_MAX) {
      const side = Math.abs(Math.cos(node.angle)) < 0.15 ? 0 : Math.sign(Math.cos(node.angle));
      const below = Math.sin(node.angle) > 0;
      const [dx, dy] = side ? [side * 18, -1] : [0, below ? 28 : -34];
      for (const [text, line] of [[name, 0], [more, 15]]) {
        mark(text, "transform", `translate(${dx} ${dy + line})`);
        mark(text, "text-anchor", ["end", "middle", "start"][side + 1]);
      }
    } else {
      const degrees = (node.angle * 180) / Math.PI;
      const left = Math.cos(node.angle) < 0;
      mark(name, "transform", `rotate(${(left ? degrees + 180 : degrees).toFixed(1)}) translate(${left ? -15 : 15} 4)`);
      mark(name, "text-anchor", left ? "end" : "start");
    }
  }

  #drawLinks() {
    const focused = this.focused;
    const shown = this.nodes.size <= LINKS_MEMBERS_MAX ? this.links : [];
    const between = shown.filter((link) => link.every((id) => id !== focused && this.#lives(id)));
    mark(this.allLinks, "d", this.#curves(between));
    mark(this.outLinks, "d", this.#curves(focused ? this.links.filter(([one]) => one === focused) : []));
    mark(this.inLinks, "d", this.#curves(focused ? this.links.filter(([, other]) => other === focused) : []));
    for (const { lost } of this.order) if (lost) mark(lost.path, "d", this.#curves(lost.links));
    const weight = shown.length > 250 ? "faint" : shown.length > 120 ? "thin" : "";
    mark(this.allLinks, "class", `links ${weight} ${focused ? "behind" : ""}`);
  }

  #lives(id) {
    const node = this.nodes.get(id);
    return node !== undefined && !isGone(node.member);
  }

  #curves(links) {
    const found = [];
    const drawn = new Set();
    for (const [one, other] of links) {
      const [a, b] = [this.nodes.get(one), this.nodes.get(other)];
      if (!a?.at || !b?.at) continue;
      const name = one < other ? `${one} ${other}` : `${other} ${one}`;
      if (drawn.has(name)) continue;
      drawn.add(name);
      const [ax, ay] = a.at;
      const [bx, by] = b.at;
      const [cx, cy] = [((ax + bx) / 2) * BEND, ((ay + by) / 2) * BEND];
      found.push(`M${ax.toFixed(1)} ${ay.toFixed(1)}Q${cx.toFixed(1)} ${cy.toFixed(1)} ${bx.toFixed(1)} ${by.toFixed(1)}`);
    }
    return found.join("");
  }

  // what is said of them ---------------------------------------------------------------------------------------------

  #label(node) {
    const { member, id } = node;
    const instances = this.store.heldBy(id);
    const name = this.store.nameOf(id);
    const state = member.state.toLowerCase();
    const what = [member.zone && `zone ${member.zone}`, plural(instances, "instance")].filter(Boolean).join(" · ");
    say(node.parts.name, shortened(name, this.nodes.size <= LEVEL_MAX ? 18 : 14));
    say(node.parts.more, isGone(member) || state === "suspected" ? state : id === this.self ? "this gateway" : what);
    mark(node.group, "aria-label", `${name}, ${state}${id === this.self ? ", this gateway" : ""}, ${what}. Why?`);
    node.group.classList.toggle("named", this.nodes.size <= NAMES_MAX || state !== "alive" || id === this.self);
    node.group.classList.toggle("level", this.nodes.size <= LEVEL_MAX);
  }

  #describe() {
    for (const node of this.nodes.values()) this.#label(node);
    const alive = this.order.filter(({ member }) => !isGone(member)).length;
    mark(this.element, "aria-label", `The overlay: ${plural(alive, "peer")} round a ring. Arrow keys go round it.`);
    this.#tell();
  }

  #tell() {
    const id = this.focused;
    const node = this.nodes.get(id);
    let text = "A line: one of the two subscribes to the other, as computed from the list of peers, not observed.";
    if (node) {
      const hears = this.links.filter(([one]) => one === id).length;
      const heard = this.links.filter(([, other]) => other === id).length;
      const also = this.partial ? "" : `, is heard by ${heard}`;
      const known = this.partial && !hears ? "" : `subscribes to ${hears}${also} (computed)`;
      text = [this.store.nameOf(id), node.member.state.toLowerCase(), node.member.address, known].filter(Boolean).join(" · ");
    } else if (this.partial) {
      text = "Too many peers to draw all links: point at one to see whom it subscribes to, as computed from the list of peers.";
    }
    say(this.caption, text);
  }

  #focus(id) {
    if (this.focused === id) return;
    this.nodes.get(this.focused)?.group.classList.remove("focused");
    this.focused = id;
    this.nodes.get(id)?.group.classList.add("focused");
    if (id && this.partial) this.onWanted(id);
    this.#tell();
    this.#drawLinks();
  }

  #key(event) {
    const at = this.order.findIndex(({ group }) => group === document.activeElement);
    if (at < 0) return;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const next = event.key === "Home" ? 0 : event.key === "End" ? this.order.length - 1 : at + (steps[event.key] ?? 0);
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onWhy(this.order[at].id);
    } else if (next !== at) {
      event.preventDefault();
      const node = this.order[(next + this.order.length) % this.order.length];
      this.order[at].group.setAttribute("tabindex", "-1");
      node.group.setAttribute("tabindex", "0");
      node.group.focus();
    }
  }
}
