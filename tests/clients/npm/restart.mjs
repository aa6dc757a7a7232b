// A client that lives through the ends of its server.
//   node restart.mjs <origin> <times>
// Says {"watching": true} whenever the server may be ended, and at last of each connection that was
// heard from, as {"connections": [{ observed, timestamps }]}: the largest timestamp that the client
// said it had seen, and those of the transitions that it got, as text.
import assert from "node:assert/strict";
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { recording, timestamp } from "./recording.mjs";

const [origin, times] = process.argv.slice(2);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const { Socket, sockets } = recording();
const client = new ConvexClient(origin, {
  logger: false,
  unsavedChangesWarning: false,
  webSocketConstructor: Socket,
});
let numbers = [];
let look = () => {};
client.onUpdate(anyApi.appends.of, { client: 0 }, (value) => {
  numbers = value;
  look();
});
const until = (holds) =>
  new Promise((done) => {
    look = () => holds() && done();
    look();
  });
const lost = () =>
  new Promise((done) => {
    const stop = client.subscribeToConnectionState(({ isWebSocketConnected }) => {
      if (isWebSocketConnected) return;
      stop();
      done();
    });
  });

const wanted = [];
async function append() {
  wanted.push(wanted.length + 1);
  await client.mutation(anyApi.appends.append, { client: 0, number: wanted.length });
  await until(() => numbers.length === wanted.length);
  assert.deepEqual(numbers, wanted);
}

await append();
for (let i = 0; i < Number(times); i++) {
  const gone = lost();
  say({ watching: true });
  await gone;
  await append();
}
const connections = sockets.map(({ sent, heard }) => ({
  observed: sent[0]?.maxObservedTimestamp && String(timestamp(sent[0].maxObservedTimestamp)),
  timestamps: heard
    .filter(({ type }) => type === "Transition")
    .map(({ endVersion }) => String(timestamp(endVersion.ts))),
}));
say({ connections: connections.filter(({ timestamps }) => timestamps.length) });
process.exit(0);
