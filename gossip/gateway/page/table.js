// A table that touches only what changed: rows by key, in order, and of a row the cells whose text differs.
//
// Rows are laid out each by itself, so that the browser passes over those that are out of sight; the roles, which the sheet's
// `display` takes from them, are said.

import { el, mark, say } from "./dom.js";

const ROWS_MAX = 2000; // more: all can be scrolled to, and each change costs more
const FRESH_MS = 2000; // a newcomer is lit up

export class Table {
  /** Columns: `{name, title, className, of(item) -> text or {text, mood, hint, press}}`. `order(item)`: a text to sort by. */
  constructor(region, { caption, columns, order, empty }) {
    this.columns = columns;
    this.order = order;
    this.rows = new Map(); // key -> {key, row, cells, order}
    this.sorted = []; // the rows, in order
    this.body = el("tbody", { role: "rowgroup" });
    const heads = columns.map((column) => el("th", { role: "columnheader", class: column.className }, column.title));
    const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads));
    this.element = el("table", { role: "table", "aria-label": caption }, head, this.body);
    this.more = el("p", { class: "nothing" });
    this.empty = empty;
    region.append(this.element, this.more);
  }

  /** Show these and no others: [key, item] in any order. */
  show(entries) {
    const listed = entries.map(([key, item]) => ({ key, item, order: this.order(item) }));
    listed.sort((one, other) => compare(one.order, other.order));
    const before = this.rows;
    this.rows = new Map();
    this.sorted = listed.slice(0, ROWS_MAX).map(({ key, item, order }) => {
      const row = before.get(key) ?? this.#made(key);
      row.order = order;
      this.rows.set(key, row);
      this.#fill(row, item);
      return row;
    });
    this.body.replaceChildren(...this.sorted.map(({ row }) => row));
    this.#foot(listed.length - this.sorted.length);
  }

  /** One came, changed or went (null). */
  set(key, item) {
    const known = this.rows.get(key);
    if (known && (!item || this.order(item) !== known.order)) {
      this.rows.delete(key);
      this.sorted.splice(this.sorted.indexOf(known), 1);
      known.row.remove();
    }
    if (item) this.#put(key, item);
    this.#foot(this.left);
  }

  #put(key, item) {
    let row = this.rows.get(key);
    if (!row) {
      if (this.rows.size >= ROWS_MAX) {
        this.left += 1;
        return;
      }
      row = this.#made(key);
      row.order = this.order(item);
      const at = this.#place(row.order);
      this.body.insertBefore(row.row, this.sorted[at]?.row ?? null);
      this.sorted.splice(at, 0, row);
      this.rows.set(key, row);
      if (performance.now() - item.since < FRESH_MS) row.row.classList.add("fresh");
    }
    this.#fill(row, item);
  }

  #place(order) {
    let low = 0;
    let high = this.sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(this.sorted[middle].order, order) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #made(key) {
    const cells = this.columns.map((column, at) =>
      at === 0 ? el("th", { role: "rowheader", class: column.className }) : el("td", { role: "cell", class: column.className }));
    return { key, row: el("tr", { role: "row" }, ...cells), cells, shown: [], order: "" };
  }

  #fill(row, item) {
    this.columns.forEach((column, at) => this.#cell(row, at, column.of(item)));
  }

  /** Only one column, of one row; nothing where the item is gone and its row waits for the next drawing. */
  refresh(key, name, item) {
    const row = this.rows.get(key);
    const at = this.columns.findIndex((column) => column.name === name);
    if (row && item) this.#cell(row, at, this.columns[at].of(item));
  }

  #cell(row, at, given) {
    const { text, mood = "", hint = "", press = null } = typeof given === "string" ? { text: given } : given;
    const shown = `${text}\n${mood}\n${hint}`;
    if (row.shown[at] === shown) return;
    const first = row.shown[at] === undefined;
    row.shown[at] = shown;
    const cell = row.cells[at];
    if (first && press) cell.append(el("button", { type: "button", class: "link" }));
    if (first && mood) cell.append(el("span"));
    const target = cell.firstElementChild ?? cell;
    say(target, text);
    if (press) target.onclick = press;
    if (mood) target.className = `badge ${mood}`;
    if (hint) mark(cell, "title", hint);
    else cell.removeAttribute("title");
  }

  #foot(left) {
    this.left = Math.max(0, left ?? 0);
    this.element.hidden = this.sorted.length === 0;
    this.more.hidden = this.sorted.length > 0 && this.left === 0;
    say(this.more, this.sorted.length === 0 ? this.empty() : `${this.left.toLocaleString()} more. Filter to see them.`);
  }
}

const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
