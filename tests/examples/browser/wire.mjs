// A wire between a browser and a server that can be held, deafened and cut.
import net from "node:net";

export class Wire {
  #target;
  // None while it is cut.
  #listening = null;
  #pairs = new Set();
  #port = 0;
  #isHeld = false;
  #isDeaf = false;

  /** Lay a wire to `target`, an origin; `origin` is then the near end of it. */
  static async to(target) {
    const wire = new Wire();
    wire.#target = new URL(target);
    await wire.mend();
    return wire;
  }

  get origin() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** What the browser says waits, until `release`. */
  hold() {
    this.#isHeld = true;
    for (const { near } of this.#pairs) near.pause();
  }

  release() {
    this.#isHeld = false;
    for (const { near } of this.#pairs) near.resume();
  }

  /** The server hears the browser, but what it answers is lost. */
  deafen() {
    this.#isDeaf = true;
  }

  /** End all connections, and refuse new ones until `mend`. */
  async cut() {
    const closed = new Promise((done) => this.#listening.close(done));
    this.#listening = null;
    for (const { near, far } of this.#pairs) {
      near.destroy();
      far.destroy();
    }
    await closed;
  }

  /** Be a good wire again, whatever was done to it. */
  async mend() {
    this.release();
    this.#isDeaf = false;
    if (this.#listening !== null) return;
    const { hostname, port } = this.#target;
    const join = (near) => this.#join(near, net.connect(Number(port), hostname));
    this.#listening = net.createServer(join);
    await new Promise((done) => this.#listening.listen(this.#port, "127.0.0.1", done));
    this.#port = this.#listening.address().port;
  }

  #join(near, far) {
    const pair = { near, far };
    this.#pairs.add(pair);
    near.on("data", (bytes) => far.write(bytes));
    far.on("data", (bytes) => this.#isDeaf || near.write(bytes));
    if (this.#isHeld) near.pause();
    for (const [one, other] of [[near, far], [far, near]]) {
      one.on("error", () => other.destroy());
      one.on("end", () => other.end());
      one.on("close", () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
    }
  }
}
