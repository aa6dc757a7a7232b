// A client that watches something, and is silent.
//   node idle.mjs <origin> <seconds>
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";

const [origin, seconds] = process.argv.slice(2);
const client = new ConvexClient(origin, { logger: false, unsavedChangesWarning: false });
client.onUpdate(anyApi.appends.of, { client: 0 }, () => {});
await new Promise((done) => setTimeout(done, Number(seconds) * 1000));
await client.mutation(anyApi.appends.append, { client: 0, number: 1 });
process.exit(0);
