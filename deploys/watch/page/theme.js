// Automatic (as the system has it), light or dark; the choice is kept.

import { el } from "./dom.js";

const NAME = "cluster-theme";
const THEMES = ["automatic", "light", "dark"];

const chosen = () => {
  const kept = localStorage.getItem(NAME);
  return THEMES.includes(kept) ? kept : "automatic";
};

export function theme(button) {
  const show = () => {
    document.documentElement.dataset.theme = chosen();
    const word = { automatic: "auto", light: "light", dark: "dark" }[chosen()];
    button.setAttribute("aria-label", `Theme: ${word}`);
    button.replaceChildren(el("span", { class: "wide" }, "Theme: "), word);
  };
  button.addEventListener("click", () => {
    localStorage.setItem(NAME, THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length]);
    show();
  });
  show();
}
