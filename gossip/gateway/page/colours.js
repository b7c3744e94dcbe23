// Colours of instances: each keeps its own while the page is open, whoever comes and goes beside it.

const HUES = 12; // told apart at a glance; beyond, the lightness tells

export class Colours {
  constructor() {
    this.slots = new Map();
    this.free = [];
  }

  /** The CSS class and the lightness step of an id. */
  of(id) {
    if (!this.slots.has(id)) this.slots.set(id, this.free.shift() ?? this.slots.size);
    const slot = this.slots.get(id);
    return `hue-${slot % HUES} shade-${Math.floor(slot / HUES) % 3}`;
  }

  /** Let go of those that are gone. */
  keep(ids) {
    for (const [id, slot] of this.slots) {
      if (!ids.has(id)) {
        this.slots.delete(id);
        this.free.push(slot);
      }
    }
    this.free.sort((one, other) => one - other);
  }
}
