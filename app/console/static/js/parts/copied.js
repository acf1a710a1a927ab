// A button that copies a text.
import { html, useState } from "../../vendor/preact.js";

const SHOWN_MS = 2_000;

export function Copied({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), SHOWN_MS);
  };
  return html`<button type="button" class="small" onClick=${() => copy().catch(() => {})}><span role="status">${done ? "Copied" : label}</span></button>`;
}
