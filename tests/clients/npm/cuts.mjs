// Clients that write without pause, whatever happens to their connections.
//   node cuts.mjs <origin> <clients>
// Each numbers its writes, several of them under way at a time, and says on a line of its own what
// came of each: {"client", "number", "ended": "resolved" | "rejected"}. At the end of the input all
// stop, wait for what is under way, and say {"stopped": true}.
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";

const [origin, clients] = process.argv.slice(2);
const UNDER_WAY = 3;
let stopping = false;

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

async function writeOn(client, name, next) {
  while (!stopping) {
    const number = next();
    await client.mutation(anyApi.appends.append, { client: name, number }).then(
      () => say({ client: name, number, ended: "resolved" }),
      () => say({ client: name, number, ended: "rejected" }),
    );
  }
}

const all = Array.from({ length: Number(clients) }, async (_, name) => {
  const client = new ConvexClient(origin, { logger: false, unsavedChangesWarning: false });
  let last = 0;
  const writers = Array.from({ length: UNDER_WAY }, () => writeOn(client, name, () => ++last));
  await Promise.all(writers);
  await client.close();
});

process.stdin.on("end", () => (stopping = true)).resume();
await Promise.all(all);
say({ stopped: true });
process.exit(0);
