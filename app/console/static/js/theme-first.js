// Before anything is drawn: the theme that was chosen here before. Without one the system's own is followed.
(() => {
  try {
    const theme = localStorage.getItem("swarmhold.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is forbidden here: the system's theme it is.
  }
})();
