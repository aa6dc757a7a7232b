// WebSockets that note what an official client says and hears over them.
//   const { Socket, sockets } = recording();
//   new ConvexClient(origin, { webSocketConstructor: Socket });
// `sockets` has one per connection, oldest first, each with `sent` and `heard`: parsed messages.
import { WebSocket } from "ws";

export function recording() {
  const sockets = [];
  class Socket extends WebSocket {
    sent = [];
    heard = [];

    constructor(...args) {
      super(...args);
      sockets.push(this);
      this.on("message", (data) => this.heard.push(JSON.parse(data)));
    }

    send(data, ...rest) {
      this.sent.push(JSON.parse(data));
      super.send(data, ...rest);
    }
  }
  return { Socket, sockets };
}

// The number that a message says a timestamp with.
export const timestamp = (text) => Buffer.from(text, "base64").readBigUInt64LE();
