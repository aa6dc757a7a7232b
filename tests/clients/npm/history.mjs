// Clients that append to lists and read them, while each watches some of the lists.
//   node history.mjs <origin> <clients> <transactions> <seed>
// Prints what they were told, a JSON object on a line for each transaction and each result of a
// subscription ("push"), with the times at which it was sent and answered. A key is retired after
// enough appends; at the end every key is read once more.
import { ConvexClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";

const [origin, clients, transactions, seed] = process.argv.slice(2);
const LIVE_KEYS = 12;
const APPENDS_MAX = 100;
const write = makeFunctionReference("txn:write");
const look = makeFunctionReference("txn:look_aside");
const watched = makeFunctionReference("txn:look");

// The same seed, the same choices (mulberry32).
let state = Number(seed) >>> 0;
function chance() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const below = (n) => Math.floor(chance() * n);
const now = () => Number(process.hrtime.bigint());

let names = 0;
const newKey = (place) => `${"de"[place % 2]}${names++}`;
const live = Array.from({ length: LIVE_KEYS }, (_, place) => newKey(place));
const all = [...live];
const appends = new Map();
const retired = new Set();

function valueFor(key) {
  const value = (appends.get(key) ?? 0) + 1;
  appends.set(key, value);
  if (value === APPENDS_MAX) {
    const place = live.indexOf(key);
    live[place] = newKey(place);
    all.push(live[place]);
    retired.add(key);
  }
  return value;
}

const lines = [];
function say(what) {
  lines.push(JSON.stringify(what));
  if (lines.length >= 500) flush();
}
function flush() {
  if (lines.length) process.stdout.write(lines.splice(0).join("\n") + "\n");
}

const withResults = (ops, results) =>
  ops.map(([kind, key, value], i) => (kind === "r" ? [kind, key, results[i]] : [kind, key, value]));

function nextOps() {
  const readsOnly = chance() < 0.3;
  const ops = Array.from({ length: 1 + below(4) }, () => {
    const key = live[below(live.length)];
    return readsOnly || chance() < 0.4 ? ["r", key, null] : ["append", key, valueFor(key)];
  });
  return [readsOnly, ops];
}

let left = Number(transactions);

async function work(_, name) {
  const client = new ConvexClient(origin, { logger: false, unsavedChangesWarning: false });
  let watching = watchSome(client, name);
  while (left-- > 0) {
    const [readsOnly, ops] = nextOps();
    const invoke = now();
    try {
      const results = readsOnly
        ? await client.query(look, { ops, slow: false })
        : await client.mutation(write, { ops });
      const complete = now();
      say({ process: name, invoke, complete, status: "ok", ops: withResults(ops, results) });
    } catch (error) {
      say({ process: name, invoke, complete: null, status: "unknown", ops, error: String(error) });
      throw error;
    }
    if (watching.keys.some((key) => retired.has(key))) {
      watching.stop();
      watching = watchSome(client, name);
    }
  }
  watching.stop();
  return client;
}

function watchSome(client, name) {
  const keys = [live[below(live.length)], live[below(live.length)]];
  const ops = keys.map((key) => ["r", key, null]);
  const stop = client.onUpdate(watched, { ops }, (results) =>
    say({
      process: name,
      invoke: null,
      complete: now(),
      status: "ok",
      push: true,
      ops: withResults(ops, results),
    }),
  );
  return { keys, stop };
}

const done = await Promise.all(Array.from({ length: Number(clients) }, work));
for (const key of all) {
  const ops = [["r", key, null]];
  const invoke = now();
  const results = await done[0].query(look, { ops, slow: false });
  say({ process: "last", invoke, complete: now(), status: "ok", ops: withResults(ops, results) });
}
flush();
process.stdout.write("", () => process.exit(0));
