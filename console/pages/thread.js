// Shows one conversation: lines by number, then open replies, then messages on their way. Used by
// the chat and by the operators' page. Elements are kept and changed in place, so that selecting
// and scrolling survive a streaming reply.

import { safe } from "/static/safe_html.js";
import { clock, day, w } from "/static/words.js";

const NEAR_PX = 96;

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/static/icons.svg#${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export class Thread {
  /**
   * `scroll` holds `thread`; `pill` is shown when something new is below. `actions`: the buttons of
   * a bot's line, of copy, quote, up, down; `onAction(name, line)`; `verdict(lineId)`.
   */
  constructor({ scroll, thread, pill, actions = [], onAction = () => {}, verdict = () => null }) {
    Object.assign(this, { scroll, thread, pill, actions, onAction, verdict });
    this.following = true;
    scroll.addEventListener(
      "scroll",
      () => {
        this.following = this.nearEnd();
        if (this.following) pill.hidden = true;
      },
      { passive: true },
    );
    pill.addEventListener("click", () => this.toEnd(true));
    new ResizeObserver(() => {
      if (this.following) this.toEnd();
    }).observe(thread);
    new ResizeObserver(() => {
      if (this.following) this.toEnd();
    }).observe(scroll);
    thread.addEventListener("click", (event) => this.clicked(event));
    this.clear();
  }

  clear() {
    this.lines = new Map();
    this.ids = new Set();
    this.frames = new Map();
    this.pending = new Map();
    this.thread.replaceChildren();
    this.earlier = element("div", "earlier");
    this.body = element("div", "lines");
    this.open = element("div", "open");
    this.thread.append(this.earlier, this.body, this.open);
    this.following = true;
    this.pill.hidden = true;
  }

  get empty() {
    return this.lines.size + this.frames.size + this.pending.size === 0;
  }

  // ---- lines ------------------------------------------------------------------------------------

  /** A durable line, once; it takes the place of its frame, or of the message on its way. */
  line(line) {
    if (this.lines.has(line.n)) return false;
    const grown = line.n > this.lastN();
    this.lines.set(line.n, line);
    this.ids.add(line.id);
    this.drop(line.id);
    const made = this.made(line);
    if (grown) this.body.append(made);
    else [...this.body.children].find((node) => Number(node.dataset.n) > line.n).before(made);
    this.markDays(made);
    this.markLast();
    if (grown) this.grew(line.author === "user");
    return true;
  }

  lastN() {
    return Number(this.body.lastElementChild?.dataset.n ?? 0);
  }

  /** Whether a colleague has spoken since the assistant did. */
  get withPerson() {
    const boxes = [...this.body.children].filter((box) => !box.classList.contains("user"));
    return Boolean(boxes.at(-1)?.classList.contains("operator"));
  }

  firstN() {
    return Number(this.body.firstElementChild?.dataset.n ?? 0);
  }

  made(line) {
    const box = element("article", `line ${line.author}`);
    box.dataset.n = line.n;
    box.dataset.id = line.id;
    box.dataset.at = line.at_ms;
    const bubble = element("div", "text");
    if (line.author === "user") {
      bubble.textContent = line.text;
    } else {
      box.append(this.badge(line.author));
      fill(bubble, line.html);
    }
    box.append(bubble, this.foot(line));
    return box;
  }

  badge(author) {
    const badge = element("span", "badge");
    badge.append(author === "operator" ? icon("person") : element("span", "mark"));
    badge.append(element("span", "name", w(author === "operator" ? "operator" : "assistant")));
    return badge;
  }

  foot(line) {
    const foot = element("div", "foot");
    const time = element("time", "", clock(line.at_ms));
    time.dateTime = new Date(line.at_ms).toISOString();
    if (line.author !== "bot") {
      if (line.how === "expired") {
        foot.append(element("span", "how failed", w("expired")));
        if (this.actions.length) foot.append(this.link("again"));
      }
      foot.append(time);
      return foot;
    }
    const noted = ["stopped", "cancelled", "failed"].includes(line.how);
    if (noted) foot.append(element("span", `how ${line.how}`, w(line.how)));
    const given = this.verdict(line.id);
    for (const name of this.actions) {
      const button = element("button", "icon small");
      button.type = "button";
      button.dataset.action = name;
      button.title = w(name);
      button.setAttribute("aria-label", w(name));
      if (name === "up" || name === "down")
        button.setAttribute("aria-pressed", String(given === name));
      button.append(icon(name === "down" ? "thumb-down" : name));
      foot.append(button);
    }
    foot.append(time);
    return foot;
  }

  link(name) {
    const button = element("button", "link", w(name));
    button.type = "button";
    button.dataset.action = name;
    return button;
  }

  markDays(made) {
    for (const box of [made, made.nextElementSibling]) {
      if (!box) continue;
      const before = box.previousElementSibling;
      const name = day(Number(box.dataset.at));
      const known = box.querySelector(":scope > .day");
      if (before && day(Number(before.dataset.at)) === name) known?.remove();
      else if (!known) box.prepend(element("div", "day", name));
    }
  }

  markLast() {
    this.body.querySelector(".line.last")?.classList.remove("last");
    this.body.lastElementChild?.classList.add("last");
  }

  // ---- open replies -----------------------------------------------------------------------------

  /** A reply's text so far; the greatest (attempt, n) wins. */
  frame(frame) {
    if (this.ids.has(frame.reply)) return;
    const known = this.frames.get(frame.reply);
    if (
      known &&
      (known.attempt > frame.attempt || (known.attempt === frame.attempt && known.n >= frame.n))
    )
      return;
    this.frames.set(frame.reply, frame);
    let box = this.find(this.open, frame.reply);
    if (!box) {
      box = element("article", "line bot streaming");
      box.dataset.id = frame.reply;
      box.append(this.badge("bot"), element("div", "text"));
      this.open.querySelector(".thinking")?.remove();
      this.open.prepend(box);
    }
    box.classList.toggle("blank", !frame.text);
    fill(box.querySelector(".text"), frame.html);
    this.grew(false);
  }

  /** Forget open replies: those that are still open come again. */
  clearFrames() {
    for (const reply of [...this.frames.keys()]) this.drop(reply);
  }

  /** Three dots while the assistant works and has shown nothing. */
  thinking(on) {
    const dots = this.open.querySelector(".thinking");
    if (on && !dots && this.frames.size === 0) {
      const box = element("article", "line bot streaming blank thinking");
      box.append(this.badge("bot"), element("div", "text"));
      this.open.append(box);
      this.grew(false);
    } else if (!on && dots) {
      dots.remove();
    }
  }

  // ---- messages on their way --------------------------------------------------------------------

  /** A message that is not acknowledged: shown as pending, or with its error and what to do. */
  message(message, note) {
    if (this.ids.has(message.id)) return;
    this.pending.set(message.id, message);
    let box = this.find(this.open, message.id);
    const fresh = !box;
    if (fresh) {
      box = element("article", "line user");
      box.dataset.id = message.id;
      if (message.quoted) box.append(element("div", "quoted", message.quoted));
      box.append(element("div", "text", message.text), element("div", "foot"));
      this.open.append(box);
    }
    box.classList.toggle("pending", !message.error && !message.acked);
    box.classList.toggle("refused", Boolean(message.error));
    const foot = box.querySelector(".foot");
    foot.replaceChildren(element("span", "note", message.error || (message.acked ? "" : note)));
    if (message.error) {
      for (const name of ["edit", "discard"]) {
        foot.append(this.link(name));
      }
    }
    if (fresh) this.grew(true);
  }

  drop(id) {
    this.frames.delete(id);
    this.pending.delete(id);
    this.find(this.open, id)?.remove();
  }

  find(where, id) {
    return where.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  // ---- reading ----------------------------------------------------------------------------------

  nearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroll;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  toEnd(smooth = false) {
    this.following = true;
    this.pill.hidden = true;
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.scroll.scrollTo({
      top: this.scroll.scrollHeight,
      behavior: smooth && !calm ? "smooth" : "instant",
    });
  }

  grew(own) {
    // Once for all that came together: each scroll makes the browser lay out the page.
    if (own) this.following = true;
    if (!this.following) this.pill.hidden = false;
    else if (!this.scrolling) this.scrolling = requestAnimationFrame(() => this.settle());
  }

  settle() {
    this.scrolling = 0;
    if (this.following) this.toEnd();
  }

  async clicked(event) {
    const code = event.target.closest("button.copy-code");
    if (code) {
      await copy(code.parentElement.querySelector("code").textContent, code);
      return;
    }
    const button = event.target.closest("button[data-action]");
    if (!button) return;
    const id = button.closest("article").dataset.id;
    const line = [...this.lines.values()].find((known) => known.id === id) ?? this.pending.get(id);
    if (button.dataset.action === "copy") await copy(line.text, button);
    else this.onAction(button.dataset.action, line, button);
  }
}

/** Put the server's HTML into `box`, leaving alone the blocks that did not change. */
function fill(box, html) {
  const made = element("div");
  made.append(safe(html));
  for (const pre of made.querySelectorAll("pre")) decorate(pre);
  for (const table of made.querySelectorAll("table")) {
    const wide = element("div", "wide");
    table.replaceWith(wide);
    wide.append(table);
  }
  const now = [...made.childNodes];
  const before = [...box.childNodes];
  let same = 0;
  while (same < now.length && same < before.length && before[same].isEqualNode(now[same]))
    same += 1;
  for (const old of before.slice(same)) old.remove();
  box.append(...now.slice(same));
}

function decorate(pre) {
  const block = element("div", "code");
  const language = pre.querySelector("code")?.dataset.language ?? "";
  const button = element("button", "copy-code");
  button.type = "button";
  button.append(icon("copy"), element("span", "", w("copy")));
  pre.replaceWith(block);
  pre.tabIndex = 0;
  block.append(element("span", "language", language), button, pre);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https or permission: the old way.
    const area = element("textarea", "unseen");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const use = button.querySelector("use");
  const before = use.getAttribute("href");
  use.setAttribute("href", "/static/icons.svg#done");
  button.classList.add("copied");
  const label = button.querySelector("span");
  if (label) label.textContent = w("copied");
  setTimeout(() => {
    use.setAttribute("href", before);
    button.classList.remove("copied");
    if (label) label.textContent = w("copy");
  }, 1_500);
}
