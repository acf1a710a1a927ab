// The sign-in: the pasted key is used once to attach, and discarded.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { useBusy } from "../parts/busy.js";
import { Trouble } from "../parts/problem.js";
import { setTitle } from "../state/attention.js";
import { ended, signIn } from "../state/session.js";

/** Returns an id for this tab alone, unless the name of an inbox was given. */
const ownBridge = (name) => `console-${name.replace(/[^\w.-]/g, "-").slice(0, 60)}-${crypto.randomUUID().slice(0, 8)}`;

export function SignIn() {
  const [key, setKey] = useState("");
  const [name, setName] = useState("");
  const [bridge, setBridge] = useState("");
  const [run, busy, problem] = useBusy();
  useEffect(() => setTitle("Sign in"), []);
  const submit = (event) => {
    event.preventDefault();
    const who = name.trim();
    run(() => signIn({ key: key.trim(), name: who, bridge: bridge.trim() || ownBridge(who || "tab") }));
  };
  return html`<main class="sign-in">
    <form onSubmit=${submit} autocomplete="off">
      <h1>swarmhold</h1>
      ${ended.value && html`<p class="note" role="status">${ended.value}</p>`}
      <label>API key
        <input type="password" name="key" required autofocus autocomplete="off" spellcheck=${false} value=${key} onInput=${(event) => setKey(event.target.value)} placeholder="shk_…" aria-describedby="key-use" />
      </label>
      <p class="hint" id="key-use">Used once to open your sessions, then forgotten. What you may do follows from its roles.</p>
      <label>Your name
        <input name="name" maxlength="100" value=${name} onInput=${(event) => setName(event.target.value)} placeholder="the key’s name" aria-describedby="name-use" />
      </label>
      <p class="hint" id="name-use">Recorded with every answer you give, and with it the key.</p>
      <details>
        <summary>Questions addressed to a name</summary>
        <label>Inbox id
          <input name="bridge" maxlength="150" value=${bridge} onInput=${(event) => setBridge(event.target.value)} placeholder="one of this tab’s own" aria-describedby="bridge-use" />
        </label>
        <p class="hint" id="bridge-use">Workers may ask one senior by id. Only one window at a time receives under an id.</p>
      </details>
      <${Trouble} problem=${problem} />
      <div class="buttons"><button class="main" type="submit" disabled=${busy || !key.trim()}>${busy ? "Signing in…" : "Sign in"}</button></div>
    </form>
  </main>`;
}
