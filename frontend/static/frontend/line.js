// The line to the server: one WebSocket that comes back by itself, and polling while it is away.

const SILENCE = 12_000; // a beat comes every 5 s; without one for so long the socket is dead, whatever it says
const POLL = 5_000;
const QUICKEST = 500;
const SLOWEST = 10_000;

export class Line {
  // news(message), state(name, since) with "live", "reconnecting" or "stale", shutOut(words): no use to try on
  constructor(socketAddress, pollAddress, { news, state, shutOut }) {
    Object.assign(this, { socketAddress, pollAddress, news, state, shutOut });
    this.lastNews = Date.now();
    this.heard = 0; // when the socket last said something; 0 = not since it was opened
    this.lastPoll = 0;
    this.delay = QUICKEST;
    this.open();
    this.ticking = setInterval(() => this.tick(), 1000);
    addEventListener("online", () => this.hurry());
    addEventListener("pageshow", (event) => event.persisted && this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  open() {
    clearTimeout(this.retry);
    const socket = new WebSocket(this.socketAddress);
    this.socket = socket;
    this.heard = 0;
    this.opened = Date.now();
    socket.onmessage = ({ data }) => {
      this.heard = this.lastNews = Date.now();
      this.delay = QUICKEST;
      this.tell();
      this.news(JSON.parse(data));
    };
    socket.onclose = ({ code }) => {
      if (socket !== this.socket) return;
      this.drop();
      if (code === 4401) this.end("You are signed out.");
    };
  }

  // The socket is gone, or as good as: forget it and try again, after a while that grows and is never the same.
  drop() {
    const socket = this.socket;
    this.socket = null;
    this.heard = 0;
    socket?.close();
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), this.delay * (0.5 + Math.random() / 2));
    this.delay = Math.min(this.delay * 2, SLOWEST);
    this.tell();
  }

  hurry() {
    if (this.over || this.heard) return;
    this.delay = QUICKEST;
    if (!this.socket) this.open();
    this.poll();
  }

  tick() {
    const now = Date.now();
    if (this.socket && now - (this.heard || this.opened) > SILENCE) this.drop();
    if (!this.heard && now - Math.max(this.lastPoll, this.opened) >= POLL) this.poll();
    this.tell();
  }

  tell() {
    if (this.over) return;
    if (this.heard) this.state("live", this.lastNews);
    else this.state(Date.now() - this.lastNews > SILENCE ? "stale" : "reconnecting", this.lastNews);
  }

  async poll() {
    if (this.polling || this.over) return;
    this.polling = true;
    this.lastPoll = Date.now();
    try {
      const answer = await fetch(this.pollAddress, { signal: AbortSignal.timeout(POLL) });
      if (answer.status === 401) this.end("You are signed out.");
      else if (answer.status === 403 || answer.status === 404) this.end((await answer.json()).message);
      else if (answer.ok) {
        const message = await answer.json();
        this.lastNews = Date.now();
        if (!this.socket) this.open(); // the server is there: no need to wait longer
        this.news({ type: "snapshot", ...message });
      }
    } catch {
      // away, still: the state says so, and the next tick asks again
    } finally {
      this.polling = false;
    }
  }

  end(words) {
    this.over = true;
    clearInterval(this.ticking);
    clearTimeout(this.retry);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.shutOut(words);
  }
}
