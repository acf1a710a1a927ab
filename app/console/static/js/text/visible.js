// Makes untrusted text safe to display: no invisible characters, no cursor movement, no change of text direction.
import { stringify } from "./json.js";

// Controls except tab and line feed, invisible and bidirectional characters, tags, and lone surrogates.
export const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f" +
    "\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb" +
    "\\u{e0000}-\\u{e0fff}\\p{Cs}\\p{Co}\\p{Cn}]",
  "gu",
);
const CONTROLS = "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");
// The variation selector and the joiner are harmless within emoji.
const PICTOGRAM = /(\p{Extended_Pictographic}(?:\ufe0f|\p{Emoji_Modifier})?)((?:\u200d\p{Extended_Pictographic}(?:\ufe0f|\p{Emoji_Modifier})?)*)/gu;

/** Returns the text with every invisible character replaced by a visible symbol. */
export function visible(text) {
  const plain = text.replaceAll("\r\n", "\n");
  UNSEEN.lastIndex = 0;
  if (!UNSEEN.test(plain)) return plain;
  let shown = "";
  let last = 0;
  for (const match of plain.matchAll(PICTOGRAM)) {
    shown += marked(plain.slice(last, match.index)) + match[0];
    last = match.index + match[0].length;
  }
  return shown + marked(plain.slice(last));
}

function marked(text) {
  return text.replace(UNSEEN, (character) => {
    const code = character.codePointAt(0);
    if (code < 0x20) return `\u27e8${CONTROLS[code]}\u27e9`;
    return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

/** Returns one line of at most `limit` characters, for lists. */
export function line(text, limit = 200) {
  const cut = text.length > 4 * limit ? text.slice(0, 4 * limit) : text;
  const flat = visible(cut).replace(/\s+/g, " ").trim();
  return flat.length > limit || cut.length < text.length ? `${flat.slice(0, limit)}…` : flat;
}

/** Returns a JSON value as text: a string unchanged, everything else indented. */
export function textOf(value) {
  return typeof value === "string" ? value : stringify(value, 2);
}
