// The tasks that are chosen in the list: by themselves, or all that fit the filter.
import { effect, signal } from "../../vendor/preact.js";
import { bodyOf, filters } from "./filters.js";
import { ask } from "./session.js";

/** {ids: Set, all}: `all` means every task that fits the filter, also those that are not listed yet. */
export const chosen = signal({ ids: new Set(), all: false });

/** Chooses a task, or no longer. */
export function turn(id) {
  const ids = new Set(chosen.value.ids);
  if (!ids.delete(id)) ids.add(id);
  chosen.value = { ids, all: false };
}

/** Chooses these tasks, or `all` that fit. */
export const choose = (ids, all = false) => (chosen.value = { ids: new Set(ids), all });

export const chooseNone = () => choose([]);

effect(() => {
  void filters.value;
  chooseNone();
});

/** Which tasks a change is about, as the API has it. */
export function selection() {
  const { ids, all } = chosen.value;
  if (!all) return { ids: [...ids] };
  const body = bodyOf(filters.value);
  // Without a filter all tasks are meant, which has to be said.
  return Object.keys(body).length ? body : { created_from: new Date(0).toISOString() };
}

/** How many tasks a change (`cancel` or `retry`) would be about. Throws Problem. */
export async function countFor(what, filter) {
  return (await ask("operator", "POST", `/v1/operator/tasks/${what}`, { body: { filter, dry_run: true } })).count;
}

/** Change them, page by page; `onPage(done)` is told how many are. Throws Problem. */
export async function change(what, filter, more, onPage) {
  const done = { count: 0, skipped: 0, reasons: [] };
  let cursor = null;
  do {
    const body = { filter, ...more, ...(cursor ? { cursor } : {}) };
    const page = await ask("operator", "POST", `/v1/operator/tasks/${what}`, { body });
    done.count += page.count;
    done.skipped += page.skipped;
    done.reasons.push(...page.reasons);
    cursor = page.next_cursor;
    onPage({ ...done });
  } while (cursor);
  return done;
}
