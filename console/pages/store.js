// What this browser remembers: conversations, drafts, and messages until they are acknowledged.
// One key for each thing, so that two tabs never write over each other's.

const memory = new Map();

function get(key) {
  try {
    return localStorage.getItem(key) ?? memory.get(key) ?? null;
  } catch {
    return memory.get(key) ?? null;
  }
}

function put(key, value) {
  // Without storage (private window, full disk) the page still works until it is closed.
  memory.set(key, value);
  try {
    localStorage.setItem(key, value);
    memory.delete(key);
  } catch {
    /* kept in memory */
  }
}

function drop(key) {
  memory.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    /* nothing was kept */
  }
}

function keys(prefix) {
  const found = new Set([...memory.keys()].filter((key) => key.startsWith(prefix)));
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith(prefix)) found.add(key);
  } catch {
    /* memory only */
  }
  return [...found];
}

function parsed(key) {
  try {
    return JSON.parse(get(key));
  } catch {
    return null;
  }
}

/** 22 random characters of the alphabet that the server takes. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
}

/** All conversations, the latest first: {id, title, at, last}. `last`: the last line seen. */
export function conversations() {
  return keys("chat:c:")
    .map((key) => ({ title: "", at: 0, last: 0, ...parsed(key), id: key.slice("chat:c:".length) }))
    .sort((a, b) => b.at - a.at);
}

export function conversation(id) {
  return { title: "", at: 0, last: 0, ...parsed(`chat:c:${id}`), id };
}

export function keep(id, changes) {
  put(`chat:c:${id}`, JSON.stringify({ ...conversation(id), ...changes }));
}

/** Forget it in this browser; the server keeps its log. */
export function forget(id) {
  drop(`chat:c:${id}`);
  for (const key of [...keys(`chat:d:${id}`), ...keys(`chat:o:${id}:`), ...keys(`chat:v:${id}:`)])
    drop(key);
}

export function current() {
  try {
    return sessionStorage.getItem("chat:current") || get("chat:current");
  } catch {
    return get("chat:current");
  }
}

export function setCurrent(id) {
  try {
    sessionStorage.setItem("chat:current", id);
  } catch {
    /* the other copy is enough */
  }
  put("chat:current", id);
}

export const draft = (id) => get(`chat:d:${id}`) ?? "";

export function setDraft(id, text) {
  if (text) put(`chat:d:${id}`, text);
  else drop(`chat:d:${id}`);
}

/** Messages not acknowledged yet, oldest first: {id, text, quoted, at, error?}. */
export function outbox(conversationId) {
  return keys(`chat:o:${conversationId}:`)
    .map(parsed)
    .filter((message) => message?.id && message.text)
    .sort((a, b) => a.at - b.at);
}

export function post(conversationId, message) {
  put(`chat:o:${conversationId}:${message.id}`, JSON.stringify(message));
}

export function posted(conversationId, id) {
  drop(`chat:o:${conversationId}:${id}`);
}

export const verdict = (conversationId, reply) => get(`chat:v:${conversationId}:${reply}`);

export function setVerdict(conversationId, reply, value) {
  put(`chat:v:${conversationId}:${reply}`, value);
}
