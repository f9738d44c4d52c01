// The chat page: joins the connection, what the browser remembers, and the thread on the screen.
// A message stays in the outbox, and is sent again after each reconnect, until the server says that
// it is durable (ack) or shows it as a line; its id makes the repetition harmless.

import { Connection } from "/static/connection.js";
import { Side } from "/static/side.js";
import * as store from "/static/store.js";
import { Thread, element } from "/static/thread.js";
import { locale, toggleLanguage, translate, w } from "/static/words.js";

const LINES_SHOWN = 150; // read again when a conversation is opened; earlier ones on demand
const FOLLOWED_MAX = 16; // the latest, for what comes while another one is open
const OPENED_MAX = 30; // the server follows 32 for a socket; then a new socket is begun
const RETRY_MS = 2_000;
const QUOTE_CHARS_MAX = 2_500; // 8 KiB in UTF-8, whatever the script

const by = (id) => document.getElementById(id);
const input = by("input");
const states = new Map(); // conversation -> its last state frame
const starts = new Map(); // conversation -> the line after which it was read
let current = "";
let quoted = "";
let soon = 0; // an animation frame that will show state and list
let ahead = null; // ms by which the server's clock is ahead of this one, once it has said
let drawn = false; // the drawer of a narrow window

const thread = new Thread({
  scroll: by("scroll"),
  thread: by("thread"),
  pill: by("pill"),
  actions: ["copy", "quote", "up", "down"],
  onAction: act,
  verdict: (line) => store.verdict(current, line),
});
const side = new Side({ list: by("list"), onOpen: open, onForget: forget });
const connection = new Connection({ onFrame: take, onStatus: showState });

// ---- frames from the server ---------------------------------------------------------------------

function take(frame) {
  const mine = frame.conversation === current;
  switch (frame.type) {
    case "welcome":
      return welcomed(frame, mine);
    case "line":
      return lineCame(frame, mine);
    case "ack":
      return acknowledged(frame);
    case "frame":
      if (mine) {
        thread.frame(frame);
        showSoon();
      }
      return undefined;
    case "state":
      return stateCame(frame, mine);
    case "error":
      return refused(frame, mine);
    default:
      return undefined; // pong, and what newer servers may add
  }
}

function welcomed(frame, mine) {
  ahead = frame.now_ms - Date.now();
  if (mine) {
    // The server has less than was asked for: it is another data directory, or a new one.
    if (frame.last < starts.get(current) || frame.last < thread.lastN()) {
      thread.clear();
      starts.set(current, frame.last);
      showOutbox();
    }
    thread.clearFrames();
    showEarlier();
  }
  if (frame.last < store.conversation(frame.conversation).last && !mine) {
    store.keep(frame.conversation, { last: frame.last });
  }
  for (const message of store.outbox(frame.conversation)) transmit(frame.conversation, message);
}

function lineCame(line, mine) {
  store.posted(line.conversation, line.id);
  const known = store.conversation(line.conversation);
  const title = known.title || (line.author === "user" ? line.text.trim().slice(0, 80) : "");
  const unread = !mine && (known.unread || (line.n > known.last && line.author !== "user"));
  store.keep(line.conversation, {
    title,
    last: line.n,
    at: Math.max(known.at, line.at_ms),
    unread,
  });
  if (mine) {
    const fresh = thread.line(line);
    if (fresh && line.n > known.last && line.author !== "user") announce(line.text);
    if (line.author === "bot") thread.thinking(false);
  }
  showSoon();
}

function acknowledged({ conversation, id }) {
  store.posted(conversation, id);
  const message = conversation === current && thread.pending.get(id);
  if (message) thread.message({ ...message, acked: true }, "");
}

function stateCame(frame, mine) {
  const before = states.get(frame.conversation);
  states.set(frame.conversation, frame);
  if (!mine) return;
  if (before && before.person !== frame.person)
    announce(w(frame.person ? "called_note" : "back_note"));
  showState();
  // A reply that ended without a line (its scope was left, nothing was shown) has no frame to stay.
  if (!frame.busy)
    setTimeout(() => {
      if (states.get(current) === frame) thread.clearFrames();
    }, 1_500);
}

function refused(frame, mine) {
  const { conversation, id, code, text } = frame;
  const message = id && store.outbox(conversation ?? current).find((known) => known.id === id);
  if (!message) {
    console.warn("the server refused a frame:", code, text);
    return;
  }
  if (["unavailable", "internal"].includes(code)) {
    setTimeout(() => transmit(conversation, message), frame.retry_after_ms ?? RETRY_MS);
  } else if (code === "hello_first") {
    connection.send(hello(conversation));
  } else {
    store.post(conversation, { ...message, error: text });
    if (mine) thread.message({ ...message, error: text });
  }
}

// ---- frames to the server -----------------------------------------------------------------------

function hello(conversation) {
  const have = conversation === current ? Math.max(thread.lastN(), starts.get(current) ?? 0) : 0;
  const after = have || (conversation === current ? 0 : store.conversation(conversation).last);
  return { type: "hello", conversation, after, locale: locale() };
}

function transmit(conversation, message) {
  const still = store.outbox(conversation).find((known) => known.id === message.id);
  if (!still || still.error) return;
  const { id, text, quoted: quote = "", at } = message;
  const sent_ms = ahead === null ? undefined : Math.max(0, Math.round(at + ahead));
  connection.send({ type: "message", conversation, id, text, quoted: quote, sent_ms });
}

/** Without half characters, which no JSON may carry. */
function wellFormed(text) {
  return text.toWellFormed?.() ?? text;
}

function send() {
  const text = wellFormed(input.value.trim());
  if (!text) return;
  input.value = "";
  store.setDraft(current, "");
  const message = { id: store.newId(), text, quoted, at: Date.now() };
  quote("");
  fit();
  post(message);
}

function post(message) {
  const { text } = message;
  store.post(current, message);
  const known = store.conversation(current);
  store.keep(current, { title: known.title || text.slice(0, 80), at: Date.now() });
  store.setCurrent(current);
  thread.message(message, note());
  transmit(current, message);
  showState();
  showList();
}

function stop() {
  // Named before its first frame, too: else the stop would end whatever is open when it arrives.
  const reply = [...thread.frames.keys()].at(-1) ?? states.get(current)?.replies?.at(-1) ?? "";
  connection.send({ type: "stop", conversation: current, reply, id: store.newId() });
  input.focus(); // the button goes, and the focus with it
}

function act(name, line, button) {
  if (!line) return;
  if (name === "again") {
    compose(line.text);
  } else if (name === "up" || name === "down") {
    if (
      !connection.send({
        type: "feedback",
        conversation: current,
        reply: line.id,
        verdict: name,
        text: "",
        id: store.newId(),
      })
    )
      return;
    store.setVerdict(current, line.id, name);
    for (const other of button.parentElement.querySelectorAll("[aria-pressed]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    announce(w("thanks"));
  } else if (name === "quote") {
    quote(String(getSelection()).trim() || line.text);
    input.focus();
  } else if (name === "edit" || name === "discard") {
    if (name === "edit") compose(line.text);
    store.posted(current, line.id);
    thread.drop(line.id);
    showState();
  }
}

/** Put a text that was not taken into the composer, to be sent as a new message. */
function compose(text) {
  input.value = text;
  typed();
  input.focus();
}

// ---- conversations ------------------------------------------------------------------------------

function open(id) {
  current = id;
  store.setCurrent(id);
  if (store.conversation(id).unread) store.keep(id, { unread: false });
  thread.clear();
  starts.set(id, Math.max(0, store.conversation(id).last - LINES_SHOWN));
  states.delete(id);
  quote("");
  input.value = store.draft(id);
  fit();
  showOutbox();
  if (connection.follows.size >= OPENED_MAX) connection.renew(latest());
  connection.follow(id, () => hello(id));
  drawer(false);
  showList();
  showState();
}

function latest() {
  return store
    .conversations()
    .slice(0, FOLLOWED_MAX)
    .map(({ id }) => id);
}

function followAll() {
  for (const id of latest()) {
    if (!connection.follows.has(id) && connection.follows.size < OPENED_MAX)
      connection.follow(id, () => hello(id));
  }
}

async function showMore() {
  const first = thread.firstN() || starts.get(current) + 1;
  const after = Math.max(0, first - 1 - LINES_SHOWN);
  const asked = current;
  const answer = await fetch(`/api/conversations/${asked}/lines?after=${after}`).catch(() => null);
  if (!answer?.ok || asked !== current) return;
  const { scroll } = thread;
  const fromEnd = scroll.scrollHeight - scroll.scrollTop;
  for (const line of (await answer.json()).lines.filter((one) => one.n < first)) thread.line(line);
  starts.set(current, after);
  showEarlier();
  scroll.scrollTop = scroll.scrollHeight - fromEnd;
}

// ---- what is shown ------------------------------------------------------------------------------

function note() {
  return w(connection.status === "open" ? "pending" : "waiting");
}

function showOutbox() {
  for (const message of store.outbox(current)) thread.message(message, note());
}

function showEarlier() {
  thread.earlier.replaceChildren();
  if (!starts.get(current)) return;
  const button = element("button", "link", w("earlier"));
  button.type = "button";
  button.addEventListener("click", showMore);
  thread.earlier.append(button);
}

/** Once for all frames that came together. */
function showSoon() {
  soon ||= requestAnimationFrame(() => {
    soon = 0;
    showState();
    showList();
  });
}

function showState() {
  const state = states.get(current);
  const busy = Boolean(state?.busy);
  const online = connection.status === "open";
  let mode = online ? "ready" : connection.status;
  if (online && state?.person) mode = thread.withPerson ? "person" : "called";
  else if (online && busy)
    mode = [...thread.frames.values()].some((frame) => frame.text) ? "writing" : "thinking";
  by("state").dataset.state = mode;
  by("state-text").textContent = w(mode);
  thread.thinking(online && busy && !state?.person);
  by("stop").hidden = !(online && busy && !state?.person);
  by("notice").hidden = mode !== "person" && mode !== "called";
  by("notice").textContent = by("notice").hidden ? "" : w(`${mode}_note`);
  by("send").disabled = !input.value.trim();
  by("hello").hidden = !thread.empty || current === "" || starts.get(current) > 0;
  by("ask-person").hidden = !by("hello").hidden || !online || Boolean(state?.person);
  by("title").textContent = store.conversation(current).title || w("untitled");
  document.title = store.conversation(current).title || w("assistant");
  for (const message of thread.pending.values()) thread.message(message, note());
}

function showList() {
  side.show(current, locale());
}

function forget(id) {
  store.forget(id);
  connection.follows.delete(id);
  if (id === current) open(store.conversations()[0]?.id ?? store.newId());
  else showList();
}

function showIdeas() {
  by("ideas").replaceChildren(
    ...[1, 2, 3, 4].map((n) => {
      const idea = element("button", "idea", w(`idea_${n}`));
      idea.type = "button";
      idea.addEventListener("click", () => {
        input.value = w(`idea_${n}_text`);
        typed();
        input.focus();
      });
      return idea;
    }),
  );
}

function quote(text) {
  quoted = wellFormed(text.slice(0, QUOTE_CHARS_MAX));
  by("quote").hidden = !quoted;
  by("quote-text").textContent = quoted;
}

function announce(text) {
  by("announce").textContent = text.slice(0, 1_000);
}

function fit() {
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight, window.innerHeight * 0.4)}px`;
}

function typed() {
  store.setDraft(current, input.value);
  fit();
  by("send").disabled = !input.value.trim();
}

function drawer(show) {
  drawn = show;
  by("app").classList.toggle("drawer", show);
  by("scrim").hidden = !show;
  by("side-open").setAttribute("aria-expanded", String(show));
}

function retranslate() {
  translate();
  showIdeas();
  showList();
  // Lines carry words too (times, buttons): the thread is drawn again from what it has.
  const { lines, frames, pending } = thread;
  thread.clear();
  for (const line of [...lines.values()].sort((a, b) => a.n - b.n)) thread.line(line);
  for (const frame of frames.values()) thread.frame(frame);
  for (const message of pending.values()) thread.message(message, note());
  showEarlier();
  showState();
}

// ---- hands --------------------------------------------------------------------------------------

by("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
input.addEventListener("keydown", (event) => {
  // While an input method composes, Enter chooses a word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
input.addEventListener("input", typed);
by("stop").addEventListener("click", stop);
by("ask-person").addEventListener("click", () => {
  post({ id: store.newId(), text: w("idea_4_text"), quoted: "", at: Date.now() });
  input.focus();
});
by("unquote").addEventListener("click", () => {
  quote("");
  input.focus();
});
by("new").addEventListener("click", () => {
  open(store.newId());
  input.focus();
});
by("side-open").addEventListener("click", () => {
  drawer(true);
  by("side-close").focus();
});
by("side-close").addEventListener("click", () => {
  drawer(false);
  by("side-open").focus();
});
by("scrim").addEventListener("click", () => drawer(false));
by("theme").addEventListener("click", () => window.toggleTheme());
by("language").addEventListener("click", () => {
  toggleLanguage();
  retranslate();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drawn) drawer(false);
});
window.addEventListener("storage", (event) => {
  if (event.key?.startsWith("chat:c:") || event.key?.startsWith("chat:o:")) {
    followAll();
    showList();
  }
});
window.addEventListener("resize", fit);

translate();
showIdeas();
open(store.current() ?? store.newId());
followAll();
if (window.matchMedia("(min-width: 760px)").matches) input.focus();
