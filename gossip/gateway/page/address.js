// What is looked at stands in the address: #service=orders&tab=members&q=…&key=…&why=…, to be kept, sent and gone back to.

const NAMES = ["service", "tab", "q", "kind", "key", "why"];

let onChange = () => {};

/** What the address says: each name a text, empty if it is not there. */
export function place() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(NAMES.map((name) => [name, (given.get(name) ?? "").slice(0, 200)]));
}

/** Change some of it. `step`: one can go back to where one was. */
export function go(changes, { step = false } = {}) {
  const next = new URLSearchParams(Object.entries({ ...place(), ...changes }).filter(([, value]) => value !== ""));
  const address = next.size ? `#${next}` : location.pathname;
  if (`#${next}` === (location.hash || "#")) return;
  if (step) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  onChange(place());
}

/** Have every change told. */
export function follow(tell) {
  onChange = tell;
  addEventListener("hashchange", () => onChange(place()));
  addEventListener("popstate", () => onChange(place()));
}
