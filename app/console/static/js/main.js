// The beginning: one view in one element; everything else follows from the session and the address.
import { html, render } from "../vendor/preact.js";
import { App } from "./views/app.js";

render(html`<${App} />`, document.getElementById("app"));
