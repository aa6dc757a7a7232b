// A TCP wire between a client and the server that can be deafened and cut.
//   const wire = await openWire("http://127.0.0.1:3210");
//   new ConvexClient(wire.origin); wire.deafen(); wire.cut(); wire.hear();
import net from "node:net";

export async function openWire(origin) {
  const target = new URL(origin);
  const pairs = new Set();
  let deaf = false;
  let spoken = () => {};
  const server = net.createServer((near) => {
    const far = net.connect(Number(target.port), target.hostname);
    const pair = { near, far };
    pairs.add(pair);
    near.on("data", (data) => far.write(data));
    far.on("data", (data) => {
      spoken(data);
      if (!deaf) near.write(data);
    });
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const side of [near, far]) side.on("close", end).on("error", end);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    // What the server says is lost from now on.
    deafen: () => (deaf = true),
    hear: () => (deaf = false),
    // Resolves when the server says something that contains `text`, lost or not.
    says: (text) =>
      new Promise((done) => {
        let said = "";
        spoken = (data) => {
          said += data.toString("latin1");
          if (said.includes(text)) done();
        };
      }),
    cut: () => {
      for (const { near, far } of pairs) {
        near.destroy();
        far.destroy();
      }
    },
    close: () => {
      server.close();
      for (const { near, far } of pairs) {
        near.destroy();
        far.destroy();
      }
    },
  };
}
