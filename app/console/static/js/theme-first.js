// Applies the theme that was chosen before, ahead of the first paint. Without one the system's theme applies.
(() => {
  try {
    const theme = localStorage.getItem("swarmhold.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is not available: use the system's theme.
  }
})();
