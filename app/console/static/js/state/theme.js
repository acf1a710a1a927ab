// The theme: the system's, or a chosen one.
import { signal } from "../../vendor/preact.js";

const NAME = "swarmhold.theme";
const ORDER = ["system", "light", "dark"];

export const theme = signal(document.documentElement.dataset.theme ?? "system");

/** Whether the page is dark now. */
export function isDark() {
  if (theme.value !== "system") return theme.value === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Switches to the next of system, light, dark. */
export function nextTheme() {
  theme.value = ORDER[(ORDER.indexOf(theme.value) + 1) % ORDER.length];
  if (theme.value === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem(NAME, theme.value);
  } catch {
    // It applies until the page is left.
  }
}
