// The list of conversations at the side: which there are, which is open, which have news.

import * as store from "/static/store.js";
import { element, icon } from "/static/thread.js";
import { w } from "/static/words.js";

const SURE_MS = 4_000; // so long a first click on "remove" waits for the second

export class Side {
  /** `onOpen(id)` and `onForget(id)`: what the person wants. */
  constructor({ list, onOpen, onForget }) {
    Object.assign(this, { list, onOpen, onForget });
    this.shown = "";
  }

  /** Show what the browser remembers, `current` being open. */
  show(current, locale) {
    const kept = store
      .conversations()
      .map(({ id, title, unread }) => ({ id, title, unread, unsent: store.outbox(id).length > 0 }));
    const now = JSON.stringify([locale, current, kept]);
    // Rebuilding takes the button from under a finger: only when there is something new to show.
    if (now === this.shown) return;
    this.shown = now;
    this.list.replaceChildren(...kept.map((one) => this.row(one, one.id === current)));
  }

  row({ id, title, unread, unsent }, here) {
    const row = element("li", here ? "here" : "");
    const choose = element("button", "choose");
    choose.type = "button";
    if (here) choose.setAttribute("aria-current", "true");
    choose.append(element("span", "name", title || w("untitled")));
    if (unsent) choose.append(element("span", "waits"));
    else if (unread) choose.append(element("span", "waits unread"));
    choose.addEventListener("click", () => this.onOpen(id));
    row.append(choose, this.removal(id));
    return row;
  }

  /** A button that forgets the conversation at its second click. */
  removal(id) {
    const button = element("button", "icon small remove");
    button.type = "button";
    const ask = () => {
      button.classList.remove("sure");
      button.title = w("remove");
      button.setAttribute("aria-label", w("remove"));
      button.replaceChildren(icon("close"));
    };
    button.addEventListener("click", () => {
      if (button.classList.contains("sure")) {
        this.onForget(id);
        return;
      }
      button.classList.add("sure");
      button.setAttribute("aria-label", w("remove_sure"));
      button.replaceChildren(element("span", "", w("remove_sure")));
      setTimeout(ask, SURE_MS);
    });
    ask();
    return button;
  }
}
