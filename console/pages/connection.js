// The WebSocket: opens it again whenever it breaks, says hello for each conversation that is
// followed, and notices a connection that only looks alive. Knows nothing of what frames mean.

const PING_EVERY_MS = 15_000;
const SILENT_MS = 35_000;
const WAIT_MS_MIN = 300;
const WAIT_MS_MAX = 8_000;
const NO_PERSON = 4401;

export class Connection {
  /** `onFrame(frame)` for each frame; `onStatus("joining"|"open"|"offline")`. */
  constructor({ onFrame, onStatus }) {
    this.onFrame = onFrame;
    this.onStatus = onStatus;
    this.follows = new Map();
    this.status = "joining";
    this.failures = 0;
    this.heard = 0;
    this.socket = null;
    this.timer = 0;
    setInterval(() => this.beat(), PING_EVERY_MS);
    window.addEventListener("online", () => this.now());
    window.addEventListener("offline", () => this.socket?.close());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.now();
    });
    window.addEventListener("pagehide", () => this.socket?.close());
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) this.now();
    });
    this.open();
  }

  /** Follow a conversation; `hello()` gives its hello frame, at each connect. */
  follow(conversation, hello) {
    this.follows.set(conversation, hello);
    this.send(hello());
  }

  /** Follow only these from now on: the server counts what one socket has opened. */
  renew(conversations) {
    this.follows = new Map([...this.follows].filter(([id]) => conversations.includes(id)));
    const old = this.socket;
    this.failures = 0;
    this.open();
    old?.close();
  }

  /** True if it was handed to an open socket; that is no promise that it arrived. */
  send(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  open() {
    clearTimeout(this.timer);
    const socket = new WebSocket(
      `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/chat`,
    );
    this.socket = socket;
    this.heard = Date.now();
    socket.addEventListener("open", () => {
      if (socket !== this.socket) return;
      this.heard = Date.now();
      this.set("open");
      for (const hello of this.follows.values()) this.send(hello());
    });
    socket.addEventListener("message", (event) => {
      if (socket !== this.socket) return;
      this.heard = Date.now();
      this.failures = 0;
      let frame = null;
      try {
        frame = JSON.parse(event.data);
      } catch {
        return;
      }
      this.onFrame(frame);
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.socket) this.closed(event.code);
    });
  }

  closed(code) {
    this.socket = null;
    this.set("offline");
    // Spread out, so that all pages do not come back in the same instant after a restart.
    const wait =
      Math.min(WAIT_MS_MAX, WAIT_MS_MIN * 1.7 ** this.failures) * (0.6 + Math.random() * 0.8);
    this.failures += 1;
    const again = () => this.open();
    if (code === NO_PERSON) {
      fetch("/api/person", { method: "POST" })
        .catch(() => null)
        .then(() => {
          this.timer = setTimeout(again, wait);
        });
    } else {
      this.timer = setTimeout(again, wait);
    }
  }

  /** Try at once instead of waiting, if there is no connection. */
  now() {
    if (this.socket !== null) {
      this.beat();
      return;
    }
    this.failures = 0;
    this.open();
  }

  beat() {
    if (this.socket === null) return;
    if (Date.now() - this.heard > SILENT_MS) {
      const dead = this.socket;
      this.closed(1006);
      dead.close();
    } else {
      this.send({ type: "ping" });
    }
  }

  set(status) {
    if (this.status === status) return;
    this.status = status;
    this.onStatus(status);
  }
}
