// One clock for all displayed ages.
import { signal } from "../../vendor/preact.js";

export const now = signal(Date.now());

setInterval(() => {
  now.value = Date.now();
}, 1000);
