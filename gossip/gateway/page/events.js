// What happened, the newest first; a click on a name asks why.

import { el, say } from "./dom.js";
import { clock, kindOf } from "./words.js";
import { keyOf } from "./store.js";

const SHOWN_MAX = 120;
const OF_PEERS = (event) => !["ADDED", "CHANGED", "REMOVED"].includes(event.kind);
const KINDS = { "": () => true, peers: OF_PEERS, instances: (event) => !OF_PEERS(event) };

/** What an event is about, as `why` takes it and as people say it. */
export function subjectOf(event, store) {
  const known = event.after ?? event.before;
  if (!known) return null;
  if (event.kind.startsWith("MEMBER_")) return { name: known.id, shown: store.nameOf(known.id) };
  return { name: keyOf(known), shown: keyOf(known) };
}

/** One event as a line of a list. */
export function line(event, store, onWhy) {
  const subject = subjectOf(event, store);
  const { word, mood } = kindOf(event.kind);
  const row = el("li", { class: mood }, el("time", { datetime: new Date(event.at * 1000).toISOString() }, clock(event.at)));
  row.append(el("span", { class: `badge ${mood}` }, word));
  if (subject && onWhy) {
    const button = el("button", { type: "button", class: "link", "aria-label": `${subject.shown}. Why?` }, subject.shown);
    button.onclick = () => onWhy(subject.name);
    row.append(button);
  }
  const pieces = store.named(event.reason).map((piece, at) => (at % 2 ? el("span", { class: "whole-word" }, piece) : piece));
  row.append(el("p", { title: event.reason }, ...pieces));
  return row;
}

export class EventsView {
  constructor(list, none, { onWhy }) {
    Object.assign(this, { list, none, onWhy });
    this.drawn = new Map(); // event -> its line
  }

  /** Those of a kind that match; lines that are there already stay. */
  show(store, kind, matches) {
    const wanted = [];
    for (let at = store.events.length - 1; at >= 0 && wanted.length < SHOWN_MAX; at -= 1) {
      const event = store.events[at];
      if (KINDS[kind]?.(event) && matches(`${event.reason} ${subjectOf(event, store)?.name ?? ""}`)) wanted.push(event);
    }
    const before = this.drawn;
    this.drawn = new Map(wanted.map((event) => [event, before.get(event) ?? line(event, store, this.onWhy)]));
    for (const [event, row] of before) if (!this.drawn.has(event)) row.remove();
    let next = this.list.firstChild;
    for (const row of this.drawn.values()) {
      if (row === next) next = next.nextSibling;
      else this.list.insertBefore(row, next);
    }
    this.none.hidden = wanted.length > 0;
    this.list.hidden = wanted.length === 0;
    say(this.none, store.events.length ? "Nothing of that kind." : "Nothing yet.");
  }
}
