// The operators' page: polls the sessions that are in people's hands and the lines of the chosen
// one. What an operator says has an id and is sent again until the server says that it is durable.

import { newId } from "/static/store.js";
import { Thread, element } from "/static/thread.js";
import { clock, toggleLanguage, translate, w } from "/static/words.js";

const POLL_MS = 1_500;
const by = (id) => document.getElementById(id);
const input = by("input");
const unsent = []; // {session, id, text}
let sessions = [];
let chosen = null;
let timer = 0;
let polling = false;
let again = false; // something happened while a poll was under way

const thread = new Thread({
  scroll: by("scroll"),
  thread: by("thread"),
  pill: by("pill"),
  actions: ["copy"],
  onAction: act,
});

class SignedOut extends Error {}
class Refused extends Error {}

async function call(path, body) {
  const request =
    body === undefined
      ? {}
      : {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        };
  const answer = await fetch(path, request);
  const said = await answer.json();
  if (answer.status === 401 || answer.status === 403) throw new SignedOut(said.text);
  if (answer.status >= 500) throw new Error(said.text);
  if (!answer.ok) throw new Refused(said.text);
  return said;
}

const path = (session, what) => `/api/operator/sessions/${encodeURIComponent(session)}/${what}`;

// ---- the loop -----------------------------------------------------------------------------------

async function poll() {
  clearTimeout(timer);
  again = polling;
  if (polling) return;
  polling = true;
  let signedOut = false;
  try {
    await deliver();
    sessions = (await call("/api/operator/sessions")).sessions;
    if (chosen) await readLines(chosen);
    by("trouble").hidden = true;
    showApp();
  } catch (error) {
    signedOut = error instanceof SignedOut;
    by("trouble").hidden = signedOut;
  }
  polling = false;
  if (signedOut) showLogin();
  else if (again) poll();
  else timer = setTimeout(poll, POLL_MS);
}

async function readLines(session) {
  for (;;) {
    const page = await call(`${path(session, "lines")}?after=${thread.lastN()}`);
    if (session !== chosen) return;
    for (const line of page.lines) {
      thread.line(line);
      // A said text comes back under the reply's id, which only the server knows.
      const said =
        line.author === "operator" &&
        [...thread.pending.values()].find((one) => one.text === line.text);
      if (said) thread.drop(said.id);
    }
    if (!page.more) return;
  }
}

/** Say what is unsent, in order. Only `poll` calls it, one at a time. */
async function deliver() {
  while (unsent.length) {
    const { session, id, text } = unsent[0];
    try {
      await call(path(session, "say"), { id, text });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (session === chosen) thread.message({ id, text, error: error.message });
    }
    unsent.shift();
  }
}

// ---- what is shown ------------------------------------------------------------------------------

function showLogin() {
  clearTimeout(timer);
  by("app").hidden = true;
  by("login").hidden = false;
  by("token").focus();
}

function showApp() {
  by("login").hidden = true;
  by("app").hidden = false;
  by("app").classList.toggle("reading", chosen !== null);
  const here = sessions.some((one) => one.session_id === chosen);
  by("hand-back").hidden = !here;
  by("composer").hidden = !here;
  by("title").textContent = chosen ? name(chosen) : "";
  by("nobody").hidden = chosen !== null;
  by("nobody-title").textContent = w(sessions.length ? "choose" : "nobody");
  by("nobody-more").textContent = sessions.length ? "" : w("nobody_more");
  document.title = sessions.length ? `(${sessions.length}) ${w("desk")}` : w("desk");
  showList();
}

function showList() {
  by("list").replaceChildren(
    ...sessions.map((one) => {
      const row = element("li", one.session_id === chosen ? "here" : "");
      const button = element("button", "choose");
      button.type = "button";
      button.dataset.session = one.session_id;
      const head = element("span", "head");
      head.append(
        element("span", "who", name(one.session_id)),
        element("time", "", clock(one.since_ms)),
      );
      button.append(head, element("span", "said", one.last_text));
      if (one.waiting) button.append(element("span", "count", `${one.waiting} ${w("unanswered")}`));
      button.addEventListener("click", () => choose(one.session_id));
      row.append(button);
      return row;
    }),
  );
}

/** People have no names here: the end of the pseudonym tells one from another. */
function name(session) {
  return `#${session.replace(/[^A-Za-z0-9]/g, "").slice(-6)}`;
}

function choose(session) {
  chosen = session;
  thread.clear();
  for (const one of unsent) if (one.session === session) thread.message(one, w("pending"));
  showApp();
  poll();
  if (window.matchMedia("(min-width: 760px)").matches) input.focus();
}

// ---- hands --------------------------------------------------------------------------------------

function say() {
  const text = input.value.trim();
  if (!text || !chosen) return;
  const said = { session: chosen, id: newId(), text };
  unsent.push(said);
  thread.message(said, w("pending"));
  input.value = "";
  typed();
  poll();
}

function act(what, message) {
  if (what === "edit") {
    input.value = message.text;
    typed();
    input.focus();
  }
  thread.drop(message.id);
}

async function handBack() {
  const session = chosen;
  by("hand-back").disabled = true;
  try {
    await call(path(session, "hand-back"), { id: newId() });
    chosen = null;
    thread.clear();
  } catch (error) {
    if (error instanceof SignedOut) showLogin();
  } finally {
    by("hand-back").disabled = false;
  }
  poll();
}

async function signIn(event) {
  event.preventDefault();
  try {
    await call("/operator/login", { token: by("token").value.trim() });
    by("token").value = "";
    by("wrong").hidden = true;
    poll();
  } catch {
    by("wrong").textContent = w("token_wrong");
    by("wrong").hidden = false;
  }
}

function typed() {
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight, window.innerHeight * 0.4)}px`;
  by("send").disabled = !input.value.trim();
}

by("login").addEventListener("submit", signIn);
by("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});
input.addEventListener("input", typed);
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  say();
});
by("hand-back").addEventListener("click", handBack);
by("back").addEventListener("click", () => {
  chosen = null;
  thread.clear();
  showApp();
});
by("theme").addEventListener("click", () => window.toggleTheme());
by("language").addEventListener("click", () => {
  toggleLanguage();
  const session = chosen;
  if (session) choose(session);
  else showApp();
});
by("sign-out").addEventListener("click", async () => {
  await call("/operator/logout", {}).catch(() => null);
  chosen = null;
  thread.clear();
  showLogin();
});

by("thread").classList.add("desk");
translate();
poll();
