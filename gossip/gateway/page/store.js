// What the page knows of the cluster: instances and members by key, the last events, and what changed since it was last drawn.
//
// Invariant: an event says how things are after it, so those that a snapshot has already may be applied again, in their order.

const EVENTS_MAX = 200;
const GONE_SHOWN_MS = 3_600_000; // who is gone for longer is forgotten

export const keyOf = (instance) => `${instance.service}/${instance.id}`;
export const isGone = (member) => member.state === "DEAD" || member.state === "LEFT";
export const isOwn = (service) => service.startsWith("gossip-"); // of the registry itself

export class Store {
  constructor() {
    this.instances = new Map(); // "service/id" -> instance, and `since` on the clock of performance.now()
    this.members = new Map(); // id -> member, and `since`
    this.events = []; // the newest last
    this.services = new Map(); // name -> {total, up}
    this.status = null;
    this.dirty = fresh();
  }

  /** What changed since the last call. */
  taken() {
    const dirty = this.dirty;
    this.dirty = fresh();
    return dirty;
  }

  /** Everything anew, but only what differs counts as changed. */
  load({ instances, members, events, status }) {
    const now = performance.now();
    this.status = status;
    const held = instances.instances.map((one) => [keyOf(one), aged(one, now)]);
    this.#replace(this.instances, held, (key, value) => this.#put(key, value));
    const known = members.members.map((one) => [one.id, aged(one, now)]);
    this.#replace(this.members, known, (id, value) => this.#setMember(id, value));
    const seen = new Set(this.events.map(nameOf));
    for (const event of events.events) {
      if (!seen.has(nameOf(event))) this.#remember(event);
    }
    this.events.sort((one, other) => one.at - other.at || one.seq - other.seq);
    this.dirty.figures = true;
  }

  /** One event of the stream. */
  apply(event) {
    const known = event.after ?? event.before;
    if (!this.events.some((one) => nameOf(one) === nameOf(event))) this.#remember(event);
    if (!known) return;
    const now = performance.now();
    if (event.kind.startsWith("MEMBER_")) {
      const kept = this.members.get(known.id);
      const since = kept && kept.state === known.state ? kept.since : now;
      this.#setMember(known.id, { ...known, since });
    } else {
      const key = keyOf(known);
      const since = event.kind === "ADDED" ? now : this.instances.get(key)?.since ?? now;
      this.#put(key, event.after && { ...event.after, since });
      if (event.kind !== "REMOVED") this.dirty.pulses.add(known.origin);
    }
  }

  /** What a member is called: its name, or its id where others have the same name. */
  nameOf(id) {
    const member = this.members.get(id);
    if (!member) return id;
    return (this.names.get(member.name) ?? 0) > 1 ? id : member.name;
  }

  /** A reason in pieces; each second one is the name of a member, in place of its id. */
  named(reason) {
    const pieces = [""];
    for (const word of reason.split(/([\w.:%@[\]/-]*[\w\]])/)) {
      if (this.members.has(word)) pieces.push(this.nameOf(word), "");
      else pieces[pieces.length - 1] += word;
    }
    return pieces;
  }

  get names() {
    if (!this.counted) {
      this.counted = new Map();
      for (const { name } of this.members.values()) this.counted.set(name, (this.counted.get(name) ?? 0) + 1);
    }
    return this.counted;
  }

  /** Forget who is gone for long. */
  tidy() {
    const now = performance.now();
    for (const [id, member] of this.members) {
      if (isGone(member) && now - member.since > GONE_SHOWN_MS) this.#setMember(id, null);
    }
  }

  #replace(map, entries, set) {
    const there = new Set(entries.map(([key]) => key));
    for (const key of [...map.keys()]) if (!there.has(key)) set(key, null);
    for (const [key, value] of entries) set(key, value);
  }

  #put(key, value) {
    const before = this.instances.get(key);
    if (before && value && same(before, value)) return;
    if (before) this.#count(before, -1);
    if (value) {
      this.instances.set(key, value);
      this.#count(value, 1);
    } else if (!this.instances.delete(key)) {
      return;
    }
    this.dirty.instances.add(key);
    this.dirty.figures = true;
  }

  #count(instance, by) {
    const counts = this.services.get(instance.service) ?? { total: 0, up: 0 };
    counts.total += by;
    if (instance.state === "UP" || instance.state === "STALE") counts.up += by;
    if (counts.total > 0) this.services.set(instance.service, counts);
    else this.services.delete(instance.service);
    this.dirty.services.add(instance.service);
    this.dirty.origins.add(instance.origin);
    const held = (this.held ??= new Map());
    held.set(instance.origin, (held.get(instance.origin) ?? 0) + by);
    if (!held.get(instance.origin)) held.delete(instance.origin);
  }

  /** How many instances a member holds. */
  heldBy(id) {
    return this.held?.get(id) ?? 0;
  }

  #setMember(id, value) {
    const before = this.members.get(id);
    if (before && value && same(before, value)) return;
    if (value) this.members.set(id, value);
    else if (!this.members.delete(id)) return;
    this.counted = null;
    this.dirty.members.add(id);
    this.dirty.figures = true;
  }

  #remember(event) {
    this.events.push(event);
    if (this.events.length > EVENTS_MAX) this.events.splice(0, this.events.length - EVENTS_MAX);
    this.dirty.events += 1;
  }
}

const fresh = () => ({
  instances: new Set(), members: new Set(), services: new Set(), origins: new Set(), pulses: new Set(), events: 0, figures: false,
});

const nameOf = (event) => `${event.seq} ${event.at}`;

const aged = ({ known_s, ...rest }, now) => ({ ...rest, since: now - known_s * 1000 });

function same(one, other) {
  const { since: _, ...left } = one;
  const { since: __, ...right } = other;
  return JSON.stringify(left) === JSON.stringify(right);
}
