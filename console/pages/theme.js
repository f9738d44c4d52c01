// Chooses light or dark before the first paint; that is why it is no module. Asked by both pages.
(function () {
  "use strict";
  const root = document.documentElement;
  const asked = window.matchMedia("(prefers-color-scheme: dark)");

  function kept() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  function show() {
    root.dataset.theme = kept() || (asked.matches ? "dark" : "light");
  }

  window.toggleTheme = function () {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      // What the system asks for needs no remembering: then the page follows the system again.
      if (next === (asked.matches ? "dark" : "light")) localStorage.removeItem("theme");
      else localStorage.setItem("theme", next);
      show();
    } catch {
      root.dataset.theme = next;
    }
  };

  asked.addEventListener("change", show);
  window.addEventListener("storage", show);
  show();
})();
