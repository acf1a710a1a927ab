// Who is on a question, and handing it over.
import { noteNow } from "./questions.js";
import { now } from "./clock.js";
import { ask, held } from "./session.js";

const pathOf = (key, call) => `/v1/senior/questions/${encodeURIComponent(key)}/${call}`;
const change = async (method, key, call, body) => noteNow(await ask("senior", method, pathOf(key, call), { body }));

/** Tells others that this person is on the question, for a quarter of an hour. Throws Problem. */
export const claim = (key) => change("POST", key, "claim", {});

/** Ends this person's claim. Throws Problem. */
export const release = (key) => change("DELETE", key, "claim");

/** Hands the question over to an inbox now. Throws Problem. */
export const handOver = (key, to) => change("POST", key, "escalate", { to });

/** The claim that holds now, null without one. */
export const claimOf = ({ claim: found, status }) => (found && status === "open" && Date.parse(found.until) > now.value ? found : null);

/** Whether a claim is this person's. */
export const isOwn = (found) => found?.by === held.value?.name;
