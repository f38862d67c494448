// The API key: asked for when the cluster wants one, kept in this tab's session storage and nowhere else.

import { byId } from "./dom.js";

const NAME = "cluster-api-key";

export const headers = () => {
  const key = sessionStorage.getItem(NAME);
  return key ? { Authorization: `Bearer ${key}` } : {};
};

export class Key {
  // `changed` is called when another key is to be used.
  constructor(changed) {
    this.changed = changed;
    this.dialog = byId("key-dialog");
    this.input = byId("key");
    byId("key-button").hidden = sessionStorage.getItem(NAME) === null;
    byId("key-button").addEventListener("click", () => this.open(false));
    byId("key-cancel").addEventListener("click", () => this.dialog.close());
    byId("key-forget").addEventListener("click", () => this.use(""));
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.use(this.input.value.trim());
    });
  }

  // The cluster refused: ask, and say so when it refused a key that was given.
  refused() {
    byId("key-button").hidden = false;
    if (!this.dialog.open) this.open(sessionStorage.getItem(NAME) !== null);
  }

  open(wrong) {
    byId("key-wrong").hidden = !wrong;
    byId("key-forget").hidden = sessionStorage.getItem(NAME) === null;
    this.input.value = "";
    this.dialog.showModal();
    this.input.focus();
  }

  use(key) {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
    this.dialog.close();
    this.changed();
  }
}
