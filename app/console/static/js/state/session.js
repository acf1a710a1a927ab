// The signed-in session. The pasted key is used once to attach, and discarded; tokens are kept until the tab is closed.
import { computed, signal } from "../../vendor/preact.js";
import { call } from "../net/api.js";
import { Problem } from "../net/problem.js";
import { keep, kept } from "./kept.js";

const NAME = "session";
const TTL_S = 12 * 3600;
const HEARTBEAT_MS = 100_000;
const AGAIN_MS = 3_000;
const READING = ["operator", "observer"];

/** {name, namespace?, bridge, tokens: {senior?, operator?, observer?}}, or null. */
export const held = signal(kept(NAME));
/** Why the session ended, shown on the sign-in page. */
export const ended = signal("");

/** The roles held now, as an array. */
export const roles = computed(() => Object.keys(held.value?.tokens ?? {}));

/** Whether a role is held. */
export const may = (role) => Boolean(held.value?.tokens[role]);

/** The credential to read with: any role may. */
export const reader = computed(() => {
  const tokens = held.value?.tokens ?? {};
  return tokens.operator ?? tokens.senior ?? tokens.observer ?? null;
});

/** Attach with the key, in every role that it allows, by default under its name. Throws Problem when it allows none. */
export async function signIn({ key, name, bridge }) {
  const tokens = {};
  let session;
  const attach = async (role) => {
    const body = { ...(name ? { operator_id: name } : {}), role, ttl: TTL_S, quiet: true, ...(role === "senior" ? { bridge_id: bridge } : {}) };
    const reply = await call(key, "POST", "/v1/operator/sessions", { body });
    tokens[role] = reply.token;
    session = reply.session;
  };
  const refusal = await attach("senior").catch(unknownKey).catch(allowedToFail);
  for (const role of READING) {
    if (tokens.operator || (role === "observer" && tokens.senior)) break;
    await attach(role).catch(allowedToFail);
  }
  if (!Object.keys(tokens).length) throw refusal;
  ended.value = "";
  hold({ name: session.operator_id, namespace: session.namespace, bridge, tokens });
}

function unknownKey(error) {
  if (!(error instanceof Problem) || error.status !== 401) throw error;
  const detail = "The server does not know this key: it was mistyped, revoked, or belongs to another server.";
  throw new Problem(401, { ...error.fields, detail }, error.retryAfter);
}

function allowedToFail(error) {
  if (error instanceof Problem && error.status === 403) return error;
  throw error;
}

function hold(session) {
  held.value = session;
  keep(NAME, session);
}

/** Signs out: detaches the sessions and discards their tokens. */
export async function signOut() {
  const tokens = Object.values(held.value?.tokens ?? {});
  hold(null);
  await Promise.allSettled(tokens.map((token) => call(token, "DELETE", "/v1/operator/session")));
}

/** Ends the session after a token was rejected; drafts are kept. */
export function sessionEnded() {
  if (!held.value) return;
  ended.value = "The session ended: it expired, or its key was revoked. Sign in again; drafts are kept.";
  hold(null);
}

/** Call the API in a role, or to read. Throws Problem. */
export async function ask(role, method, path, options) {
  const credential = role === "any" ? reader.value : held.value?.tokens[role];
  if (!credential) throw new Problem(403, { code: "role-violation", detail: `Your key does not have the role ${role}, which this needs.` });
  try {
    return await call(credential, method, path, options);
  } catch (error) {
    if (error instanceof Problem && error.status === 401) sessionEnded();
    throw error;
  }
}

/** Say that this console is there. */
export function beat() {
  for (const role of roles.value) ask(role, "POST", "/v1/operator/session/heartbeat").catch(() => {});
}

setInterval(beat, HEARTBEAT_MS);

// A console that is closed is not attached; one that is shown again, after a reload or from the cache, is.
addEventListener("pagehide", () => {
  for (const token of Object.values(held.value?.tokens ?? {})) call(token, "DELETE", "/v1/operator/session", { keepalive: true }).catch(() => {});
});
addEventListener("pageshow", () => {
  beat();
  // The page before may have said goodbye only now.
  setTimeout(beat, AGAIN_MS);
});
