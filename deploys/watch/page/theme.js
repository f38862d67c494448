// Automatic (as the system has it), light or dark; the choice is kept.

const NAME = "cluster-theme";
const THEMES = ["automatic", "light", "dark"];

const chosen = () => {
  const kept = localStorage.getItem(NAME);
  return THEMES.includes(kept) ? kept : "automatic";
};

export function theme(button) {
  const show = () => {
    document.documentElement.dataset.theme = chosen();
    button.textContent = { automatic: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[chosen()];
  };
  button.addEventListener("click", () => {
    localStorage.setItem(NAME, THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length]);
    show();
  });
  show();
}
