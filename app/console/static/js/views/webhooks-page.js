// The page of webhooks, which few people open, is loaded with its first look.
import { html, useEffect, useState } from "../../vendor/preact.js";

export function WebhooksPage() {
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    import("./webhooks.js").then(setLoaded, () => setLoaded({ failed: true }));
  }, []);
  if (loaded.Webhooks) return html`<${loaded.Webhooks} />`;
  return html`<div class="blank"><h1>Webhooks</h1><p>${loaded.failed ? "The page could not be loaded. Reload it." : "Reading…"}</p></div>`;
}
