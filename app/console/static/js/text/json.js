// JSON whose numbers keep their digits: one that JavaScript would change is read as an `Exact`, and written as it came.

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const TEXT = /"(?:[^"\\]|\\.)*"/sy;
const SPACE = /[ \t\r\n]*/y;
/** Whether a text may hold a number that JavaScript changes: many digits, a fraction, an exponent, minus zero. */
const SUSPECT = /\d{16}|\d[.eE]|-0/;
const DEEPEST = 1000;
const WORDS = new Map([["true", true], ["false", false], ["null", null]]);

/** A number that keeps the text it was written as. */
export class Exact {
  constructor(text) {
    this.text = text;
    Object.freeze(this);
  }

  toString() {
    return this.text;
  }

  valueOf() {
    return Number(this.text);
  }
}

/** Returns the value of a JSON text. Throws SyntaxError. */
export function parse(text) {
  const value = JSON.parse(text);
  return SUSPECT.test(text) ? new Reader(text).whole() : value;
}

/** Returns a value as JSON, with `indent` spaces a level. */
export function stringify(value, indent = 0) {
  return written(value, indent, "");
}

function written(value, indent, margin) {
  if (value instanceof Exact) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = margin + " ".repeat(indent);
  const items = Array.isArray(value)
    ? value.map((item) => written(item, indent, inner))
    : Object.entries(value).filter(([, item]) => item !== undefined).map(([name, item]) => `${JSON.stringify(name)}:${indent ? " " : ""}${written(item, indent, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (!items.length) return open + close;
  return indent ? `${open}\n${inner}${items.join(`,\n${inner}`)}\n${margin}${close}` : open + items.join(",") + close;
}

/** Returns the number that a person typed: as JavaScript has it, or exactly as it was typed. */
export function numberOf(text) {
  NUMBER.lastIndex = 0;
  return NUMBER.exec(text)?.[0] === text ? number(text) : undefined;
}

const number = (text) => (String(Number(text)) === text ? Number(text) : new Exact(text));

/** Reads a text that JSON.parse accepts. */
class Reader {
  #text;
  #at = 0;
  #depth = 0;

  constructor(text) {
    this.#text = text;
  }

  whole() {
    this.#take(SPACE);
    return this.#value();
  }

  #take(pattern) {
    pattern.lastIndex = this.#at;
    const [found] = pattern.exec(this.#text);
    this.#at = pattern.lastIndex;
    return found;
  }

  #value() {
    const first = this.#text[this.#at];
    if (first === "{") return this.#members({}, "}", (into) => this.#member(into));
    if (first === "[") return this.#members([], "]", (into) => into.push(this.#value()));
    if (first === '"') return JSON.parse(this.#take(TEXT));
    for (const [word, value] of WORDS)
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    return number(this.#take(NUMBER));
  }

  #members(into, close, take) {
    if ((this.#depth += 1) > DEEPEST) throw new SyntaxError("nested too deeply");
    do {
      this.#at += 1;
      this.#take(SPACE);
      if (this.#text[this.#at] === close) break;
      take(into);
      this.#take(SPACE);
    } while (this.#text[this.#at] === ",");
    this.#at += 1;
    this.#depth -= 1;
    return into;
  }

  #member(into) {
    const name = JSON.parse(this.#take(TEXT));
    this.#take(SPACE);
    this.#at += 1;
    this.#take(SPACE);
    Object.defineProperty(into, name, { value: this.#value(), enumerable: true, configurable: true, writable: true });
  }
}
