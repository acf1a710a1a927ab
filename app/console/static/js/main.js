// The entry point: renders the app, which follows the session and the address.
import { html, render } from "../vendor/preact.js";
import { App } from "./views/app.js";

render(html`<${App} />`, document.getElementById("app"));
