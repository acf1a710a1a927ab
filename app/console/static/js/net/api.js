// Requests to the HTTP API: JSON in, JSON out, the credential in the Authorization header only.
import { Problem } from "./problem.js";
import { parse, stringify } from "../text/json.js";

const PATIENCE_MS = 30_000;

/** The path with those query parameters that have a value; a list gives one several times. */
export function withQuery(path, query = {}) {
  const given = Object.entries(query).flatMap(([name, value]) => [value].flat().map((one) => [name, one])).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Returns the decoded reply, null when it has no body. Throws Problem. */
export async function call(credential, method, path, { body, query, signal, headers, keepalive = false } = {}) {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let reply;
  let text;
  try {
    reply = await fetch(withQuery(path, query), {
      method,
      headers: {
        Authorization: `Bearer ${credential}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : stringify(body),
      keepalive,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    text = await reply.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, null);
  }
  const value = parsed(text);
  if (!reply.ok) throw new Problem(reply.status, value, Number(reply.headers.get("Retry-After")) || null);
  return value;
}

function parsed(text) {
  if (!text) return null;
  try {
    return parse(text);
  } catch {
    return null;
  }
}
