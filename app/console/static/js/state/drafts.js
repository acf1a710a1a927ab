// Drafts of answers. They survive a reload, a restart of the server and the end of the session.
import { keep, kept, keptNames } from "./kept.js";
import { stringify } from "../text/json.js";

const PREFIX = "draft.";
const LONGEST = 1_000_000;
/** Drafts that did not fit into the browser's storage. */
const large = new Map();

/** The draft of a question: {mode, text?, value?}, or null. */
export const draftOf = (key) => large.get(key) ?? kept(PREFIX + key);

/** Stores a draft; null deletes it. Returns false if it is kept only until the page is left. */
export function keepDraft(key, draft) {
  large.delete(key);
  if (draft === null || (stringify(draft).length <= LONGEST && keep(PREFIX + key, draft))) return draft !== null || keep(PREFIX + key, null);
  keep(PREFIX + key, null);
  large.set(key, draft);
  return false;
}

const NOTE = "note.";

/** The comment that is to go with an answer, as far as it is written. */
export const noteOf = (key) => kept(NOTE + key, "");

/** Stores a comment; an empty one is deleted. */
export const keepNote = (key, text) => keep(NOTE + key, text || null);

/** The keys of all questions that have a draft. */
export const draftedKeys = () => [...large.keys(), ...keptNames(PREFIX).map((name) => name.slice(PREFIX.length))];
