// Short temporary messages, announced by screen readers.
import { signal } from "../../vendor/preact.js";

const SHOWN_MS = 6_000;
const MOST = 4;
let count = 0;

export const notices = signal([]);

/** Shows a notice. `kind` is info, good or bad; bad ones stay until they are dismissed. */
export function notify(text, kind = "info") {
  const id = ++count;
  notices.value = [...notices.value.slice(1 - MOST), { id, text, kind }];
  if (kind !== "bad") setTimeout(() => dismiss(id), SHOWN_MS);
}

/** Removes a notice. */
export function dismiss(id) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
