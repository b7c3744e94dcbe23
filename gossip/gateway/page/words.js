// How things are said: ages, times, numbers, kinds of events, shortened names.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const STEPS = [[86400, "d"], [3600, "h"], [60, "min"]];

const KINDS = {
  ADDED: ["added", "good"],
  CHANGED: ["changed", "calm"],
  REMOVED: ["removed", "bad"],
  RESYNC: ["resync", "calm"],
  MEMBER_JOINED: ["joined", "good"],
  MEMBER_SUSPECTED: ["suspected", "warn"],
  MEMBER_REFUTED: ["refuted", "good"],
  MEMBER_DEAD: ["dead", "bad"],
  MEMBER_LEFT: ["left", "calm"],
  NOTICE: ["notice", "warn"],
};

/** The word for a kind of event, and how it feels. An unknown kind is itself. */
export function kindOf(kind) {
  const [word, mood] = KINDS[kind] ?? [String(kind).toLowerCase(), "calm"];
  return { word, mood };
}

/** An age in coarse steps, so that what is shown rarely changes. */
export function age(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  for (const [size, unit] of STEPS) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return seconds < 10 ? "just now" : `${Math.floor(seconds / 10) * 10} s`;
}

/** The same as how long something lasts. */
export const lasting = (ms) => (ms < 10_000 ? "just now" : `for ${age(ms)}`);

/** A wall time, given in seconds, as the clock of this machine shows it. */
export const clock = (seconds) => CLOCK.format(new Date(seconds * 1000));

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

export const percent = (share) => `${(share * 100).toFixed(1)} %`;

/** At most so many characters, the end cut off. */
export const shortened = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
