// Services, their instances, and the peers: two tables and the list that chooses what the first one shows.

import { byId, el, mark, say } from "./dom.js";
import { Table } from "./table.js";
import { age } from "./words.js";
import { isGone, isOwn } from "./store.js";

const MOODS = {
  UP: "good", ALIVE: "good", STALE: "warn", DRAINING: "warn", SUSPECTED: "warn", CRITICAL: "bad", DEAD: "bad", LEFT: "calm",
};

export class Catalogue {
  constructor(store, { onWhy, onService }) {
    Object.assign(this, { store, onWhy, onService, service: "", matches: () => true });
    this.buttons = new Map(); // service -> its entry in the list
    this.instances = new Table(byId("instances"), {
      caption: "Instances",
      columns: this.#instanceColumns(),
      order: (one) => `${isOwn(one.service) ? 1 : 0}${one.service}\n${one.id}`,
      empty: () => (this.service && !store.services.has(this.service) ? `Nobody runs ${this.service} now.` : "Nothing to show."),
    });
    this.members = new Table(byId("members"), {
      caption: "Peers",
      columns: this.#memberColumns(),
      order: (one) => `${isGone(one) ? 1 : 0}${one.name}\n${one.id}`,
      empty: () => "Nobody to show.",
    });
  }

  #instanceColumns() {
    const why = (one) => () => this.onWhy(`${one.service}/${one.id}`);
    const extras = (one) => [...one.routes, ...Object.entries(one.labels).map(([key, value]) => `${key}=${value}`)].join("  ");
    return [
      { name: "id", title: "Instance", className: "name", of: (one) => ({ text: one.id, press: why(one), hint: one.id }) },
      { name: "service", title: "Service", className: "service", of: (one) => one.service },
      { name: "state", title: "State", className: "state", of: (one) => badge(one.state) },
      { name: "address", title: "Address", className: "address", of: (one) => one.address ?? `${one.host}:${one.port}` },
      { name: "zone", title: "Zone", className: "zone", of: (one) => one.zone || "–" },
      { name: "weight", title: "Weight", className: "number weight", of: (one) => String(one.weight) },
      { name: "age", title: "Age", className: "number age", of: (one) => age(performance.now() - one.since) },
      { name: "origin", title: "Peer", className: "origin", of: (one) => hinted(this.store.nameOf(one.origin), one.origin) },
      { name: "extras", title: "Routes, labels", className: "extras", of: (one) => hinted(extras(one) || "–", extras(one)) },
    ];
  }

  #memberColumns() {
    return [
      {
        name: "name", title: "Peer", className: "name",
        of: (one) => ({ text: one.name, press: () => this.onWhy(one.id), hint: one.id }),
      },
      { name: "state", title: "State", className: "state", of: (one) => badge(one.state) },
      { name: "zone", title: "Zone", className: "zone", of: (one) => one.zone || "–" },
      { name: "address", title: "Address", className: "address", of: (one) => one.address },
      { name: "held", title: "Instances", className: "number weight", of: (one) => String(this.store.heldBy(one.id)) },
      { name: "age", title: "For", className: "number age", of: (one) => age(performance.now() - one.since) },
      { name: "id", title: "Id", className: "origin", of: (one) => one.id },
    ];
  }

  /** Everything that matches, of this service or of all (""). */
  show(service, matches) {
    this.service = service;
    this.matches = matches;
    byId("instances").classList.toggle("of-one", service !== "");
    this.instances.show([...this.store.instances].filter(([, one]) => this.#wants(one)));
    this.members.show([...this.store.members].filter(([, one]) => this.#wantsMember(one)));
    this.#list();
  }

  /** What changed, and nothing else. */
  update(dirty) {
    for (const key of dirty.instances) {
      const one = this.store.instances.get(key);
      this.instances.set(key, one && this.#wants(one) ? one : null);
    }
    for (const id of dirty.members) {
      const one = this.store.members.get(id);
      this.members.set(id, one && this.#wantsMember(one) ? one : null);
    }
    for (const id of dirty.origins) {
      const one = this.store.members.get(id);
      if (one) this.members.refresh(id, "held", one);
    }
    if (dirty.services.size) this.#list();
  }

  /** Time passed: ages whose words changed. */
  age() {
    for (const { key } of this.instances.sorted) this.instances.refresh(key, "age", this.store.instances.get(key));
    for (const { key } of this.members.sorted) this.members.refresh(key, "age", this.store.members.get(key));
  }

  /** Names of members changed what instances show as their peer. */
  rename(ids) {
    if (ids.size === 0) return;
    for (const { key } of this.instances.sorted) this.instances.refresh(key, "origin", this.store.instances.get(key));
  }

  #wants(one) {
    return (!this.service || one.service === this.service) && this.matches(words(one, this.store));
  }

  #wantsMember(one) {
    return this.matches(`${one.name} ${one.id} ${one.address} ${one.zone} ${one.state}`);
  }

  #list() {
    const names = [...this.store.services.keys()].sort((one, other) => isOwn(one) - isOwn(other) || (one < other ? -1 : 1));
    if (this.service && !this.store.services.has(this.service)) names.unshift(this.service);
    const wanted = ["", ...names];
    for (const [name, { item }] of this.buttons) {
      if (!wanted.includes(name)) {
        item.remove();
        this.buttons.delete(name);
      }
    }
    const list = byId("services");
    wanted.forEach((name, at) => {
      const entry = this.buttons.get(name) ?? this.#entry(name);
      if (list.children[at] !== entry.item) list.insertBefore(entry.item, list.children[at] ?? null);
      this.#fill(name, entry);
    });
  }

  #entry(name) {
    const [label, count] = [el("span", {}, name || "All services"), el("b")];
    const button = el("button", { type: "button", class: isOwn(name) ? "own" : "" }, label, count);
    button.onclick = () => this.onService(name);
    const entry = { item: el("li", {}, button), button, count };
    this.buttons.set(name, entry);
    return entry;
  }

  #fill(name, { button, count }) {
    const counts = name ? this.store.services.get(name) ?? { total: 0, up: 0 } : all(this.store);
    say(count, counts.up === counts.total ? counts.total.toLocaleString() : `${counts.up}/${counts.total}`);
    mark(count, "title", `${counts.up} of ${counts.total} may be used`);
    mark(count, "class", counts.up === 0 ? "bad" : counts.up < counts.total ? "warn" : "");
    if (name === this.service) mark(button, "aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

const hinted = (text, hint) => ({ text, hint });

function badge(state) {
  return { text: state.toLowerCase(), mood: MOODS[state] ?? "calm" };
}

function all(store) {
  let [total, up] = [0, 0];
  for (const counts of store.services.values()) [total, up] = [total + counts.total, up + counts.up];
  return { total, up };
}

function words(one, store) {
  const labels = Object.entries(one.labels).map(([key, value]) => `${key}=${value}`);
  const place = [one.service, one.id, one.host, one.zone, one.state, store.nameOf(one.origin), one.origin];
  return [...place, ...one.routes, ...labels].join(" ");
}
