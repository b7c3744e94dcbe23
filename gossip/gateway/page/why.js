// Why something is as it is: all that this gateway remembers about one name, as a story.

import { byId, say } from "./dom.js";
import { get } from "./api.js";
import { line } from "./events.js";
import { isGone } from "./store.js";
import { lasting, plural } from "./words.js";

export class WhyDialog {
  constructor(store, { onClose }) {
    this.store = store;
    this.dialog = byId("why");
    this.name = "";
    byId("why-close").onclick = () => this.dialog.close();
    this.dialog.addEventListener("close", onClose);
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  /** Open it for a name, or close it for none. */
  async show(name) {
    if (name === this.name) return;
    this.name = name;
    if (!name) {
      this.dialog.close();
      return;
    }
    this.#head();
    byId("why-events").replaceChildren();
    byId("why-none").hidden = true;
    if (!this.dialog.open) this.dialog.showModal();
    await this.refresh();
  }

  /** Ask again: something happened. */
  async refresh() {
    const name = this.name;
    if (!name) return;
    let text = "Nothing is remembered about it.";
    let events = [];
    try {
      ({ events } = await get("/v1/why", { name }));
    } catch (error) {
      text = error.message;
    }
    if (name !== this.name) return;
    this.#head();
    byId("why-events").replaceChildren(...events.map((event) => line(event, this.store, null)));
    byId("why-none").hidden = events.length > 0;
    say(byId("why-none"), text);
  }

  #head() {
    const member = this.store.members.get(this.name);
    const instance = this.store.instances.get(this.name);
    const known = member ?? instance;
    say(byId("why-heading"), member ? this.store.nameOf(this.name) : this.name);
    const facts = known ? [known.state.toLowerCase(), lasting(performance.now() - known.since)] : ["gone"];
    if (member) facts.push(`id ${member.id}`, member.address);
    if (member && !isGone(member)) facts.push(plural(this.store.heldBy(this.name), "instance"));
    if (instance) facts.push(instance.address, `weight ${instance.weight}`);
    if (instance) facts.push(`registered at ${this.store.nameOf(instance.origin)}`);
    const labels = Object.entries(instance?.labels ?? {}).map(([key, value]) => `${key}=${value}`);
    const routes = (instance?.routes ?? []).map((route) => `route ${route}`);
    if (known?.zone) facts.push(`zone ${known.zone}`);
    say(byId("why-about"), [...facts, ...labels, ...routes].join(" · "));
  }
}
