// The gateway's calls, with the token if it wants one. The token lives in this tab alone.

const KEPT = "gossip-token";

/** The gateway wants a token, or another one. */
export class Unauthorized extends Error {}

export const token = {
  get: () => sessionStorage.getItem(KEPT),
  set: (value) => sessionStorage.setItem(KEPT, value),
  drop: () => sessionStorage.removeItem(KEPT),
};

let onState = () => {};

/** Have told what `Gossip-State` says with every answer. */
export function followState(tell) {
  onState = tell;
}

/** Fetch a path. Throws `Unauthorized`, and Error with the detail of a problem document. */
export async function call(path, options = {}) {
  const headers = { ...options.headers };
  const held = token.get();
  if (held) headers.Authorization = `Bearer ${held}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status === 401) throw new Unauthorized(held ? "The gateway does not know this token." : "");
  onState(answer.headers.get("Gossip-State") ?? "");
  if (!answer.ok) throw new Error(await problem(answer));
  return answer;
}

/** The JSON at a path, with the parameters that are not undefined. */
export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined));
  return (await call(query.size ? `${path}?${query}` : path)).json();
}

async function problem(answer) {
  try {
    return (await answer.json()).detail ?? answer.statusText;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}
