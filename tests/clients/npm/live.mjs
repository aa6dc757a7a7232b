// What an app in JavaScript does with a deployment over the WebSocket, through the official client.
//   node live.mjs <origin> <admin key> <tokens: JSON>
// Prints one JSON object: for each case null, or how it failed. Numbers in the names are those of
// the protocol's checklist.
import assert from "node:assert/strict";
import { BaseConvexClient, ConvexClient } from "convex/browser";
import { ConvexReactClient } from "convex/react";
import { anyApi, makeFunctionReference } from "convex/server";
import { WebSocket } from "ws";
import { recording } from "./recording.mjs";
import { openWire } from "./wire.mjs";
import { values } from "./values.mjs";

const [origin, adminKey, tokensJson] = process.argv.slice(2);
const tokens = JSON.parse(tokensJson);
const SECONDS = 20;
const cases = {};
const open = [];

function quietly(address = origin, options = {}) {
  const client = new ConvexClient(address, { logger: false, unsavedChangesWarning: false, ...options });
  open.push(client);
  return client;
}

function reactively(address = origin) {
  const client = new ConvexReactClient(address, {
    logger: false,
    unsavedChangesWarning: false,
    webSocketConstructor: WebSocket,
  });
  open.push(client);
  return client;
}

function patiently(promise, what) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`waited in vain for ${what}`)), SECONDS * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// All results of a subscription so far, and a way to wait for one.
function watch(client, name, args = {}) {
  const seen = [];
  const waiting = new Set();
  const note = (value) => {
    seen.push(value);
    for (const look of waiting) look();
  };
  const stop = client.onUpdate(
    makeFunctionReference(name),
    args,
    (value) => note({ value }),
    (error) => note({ error }),
  );
  const until = (holds, what = "a result") =>
    patiently(
      new Promise((done) => {
        const look = () => {
          const last = seen.at(-1);
          if (last && holds(last)) {
            waiting.delete(look);
            done(last);
          }
        };
        waiting.add(look);
        look();
      }),
      `${what} of ${name}`,
    );
  return { seen, stop, until };
}

// Of each AuthError that the server sent: whether it was about a new token.
const attempted = (sockets) =>
  sockets.flatMap(({ heard }) =>
    heard.filter(({ type }) => type === "AuthError").map((each) => each.authUpdateAttempted),
  );

// A room of its own for each case, so that cases do not see each other's lines.
let rooms = 0;
const room = () => `room ${++rooms}`;
const texts = (lines) => lines.map((line) => line.text);

cases["a subscription gets the first result and every change"] = async () => {
  const here = room();
  const client = quietly();
  const lines = watch(client, "lines:list", { room: here });
  await lines.until(({ value }) => value.length === 0);
  const writer = quietly();
  for (const text of ["one", "two", "three"]) {
    await writer.mutation(anyApi.lines.add, { room: here, text });
    await lines.until(({ value }) => texts(value).includes(text));
  }
  assert.deepEqual(texts(lines.seen.at(-1).value), ["one", "two", "three"]);
};

cases["what did not change is not sent again"] = async () => {
  const [here, there] = [room(), room()];
  const client = quietly();
  const lines = watch(client, "lines:list", { room: here });
  const whole = watch(client, "lines:count", {});
  await lines.until(() => true);
  const before = (await whole.until(() => true)).value;
  await client.mutation(anyApi.lines.add, { room: there, text: "elsewhere" });
  await whole.until(({ value }) => value > before);
  assert.equal(lines.seen.length, 1);
};

cases["many subscriptions of one query are one"] = async () => {
  const here = room();
  const client = quietly();
  const all = Array.from({ length: 20 }, () => watch(client, "lines:list", { room: here }));
  await Promise.all(all.map((each) => each.until(() => true)));
  await client.mutation(anyApi.lines.add, { room: here, text: "for all" });
  await Promise.all(all.map((each) => each.until(({ value }) => value.length === 1)));
};

cases["who unsubscribes hears nothing more, and may subscribe again"] = async () => {
  const here = room();
  const client = quietly();
  const first = watch(client, "lines:list", { room: here });
  await first.until(() => true);
  first.stop();
  await client.mutation(anyApi.lines.add, { room: here, text: "unheard" });
  assert.equal(first.seen.length, 1);
  const second = watch(client, "lines:list", { room: here });
  await second.until(({ value }) => value.length === 1);
};

for (const kind of ["query", "mutation", "action"]) {
  cases[`every value comes back from a ${kind} over the socket`] = async () => {
    const client = quietly();
    for (const [name, value] of Object.entries(values)) {
      assert.deepStrictEqual(await client[kind](anyApi.echo[kind], { value }), value, name);
    }
  };
}

cases["8: the client's own path is served, at the first attempt"] = async () => {
  const { Socket, sockets } = recording();
  const client = quietly(origin, { webSocketConstructor: Socket });
  await client.query(anyApi.lines.count, {});
  assert.deepEqual(
    sockets.map(({ url }) => new URL(url).pathname.replace(/\d+\.\d+\.\d+/, "version")),
    ["/api/version/sync"],
  );
};

cases["a client knows what is under way"] = async () => {
  const client = quietly();
  await client.query(anyApi.lines.count, {});
  assert.equal(client.connectionState().hasInflightRequests, false);
  const asked = [
    client.action(anyApi.echo.slow_action, {}),
    client.mutation(anyApi.lines.add, { room: room(), text: "counted" }),
  ];
  const busy = client.connectionState();
  assert.deepEqual([busy.inflightActions, busy.inflightMutations], [1, 1]);
  await Promise.all(asked);
  const idle = client.connectionState();
  assert.deepEqual([idle.inflightActions, idle.inflightMutations], [0, 0]);
  assert.deepEqual([idle.hasInflightRequests, idle.isWebSocketConnected], [false, true]);
  assert.deepEqual([idle.connectionCount, idle.connectionRetries], [1, 0]);
};

cases["9: a mutation of a client that watches nothing resolves"] = async () => {
  const client = quietly();
  const here = room();
  await patiently(client.mutation(anyApi.lines.add, { room: here, text: "alone" }), "the answer");
  assert.equal(await client.action(anyApi.echo.action, { value: 1 }), 1);
};

cases["10: a mutation that raises is told at once, with its data"] = async () => {
  const client = quietly();
  const refused = await client.mutation(anyApi.echo.raise_mutation, { data: { why: "full" } }).then(
    () => assert.fail("it did not raise"),
    (error) => error,
  );
  assert.deepEqual(refused.data, { why: "full" });
  await assert.rejects(client.mutation(anyApi.echo.fail_mutation, {}), /no stock/);
  await assert.rejects(client.action(anyApi.echo.fail_action, {}), /no stock/);
  await assert.rejects(client.mutation(makeFunctionReference("no:such"), {}), /Could not find public function/);
};

cases["11: mutations run in order, and no rendered state has a line twice or lacks one"] = async () => {
  const here = room();
  const client = reactively();
  const query = anyApi.lines.list;
  const watched = client.watchQuery(query, { room: here });
  const states = [];
  const note = () => {
    const value = watched.localQueryResult();
    if (value !== undefined) states.push(texts(value));
  };
  const stop = watched.onUpdate(note);
  const wanted = [];
  const sent = [];
  for (let i = 0; i < 30; i++) {
    wanted.push(`line ${i}`);
    sent.push(
      client.mutation(anyApi.lines.add, { room: here, text: `line ${i}` }, {
        optimisticUpdate: (store, { room, text }) => {
          const lines = store.getQuery(query, { room });
          if (lines !== undefined) store.setQuery(query, { room }, [...lines, { text }]);
        },
      }),
    );
    if (i % 5 === 4) await sent.at(-1);
  }
  await patiently(Promise.all(sent), "all answers");
  stop();
  assert.deepEqual(texts(watched.localQueryResult()), wanted);
  for (const state of states) assert.deepEqual(state, wanted.slice(0, state.length));
  const lengths = states.map((state) => state.length);
  assert.deepEqual(lengths, [...lengths].sort((a, b) => a - b), "no line goes away again");
};

cases["12: a mutation whose answer was lost is done once"] = async () => {
  const wire = await openWire(origin);
  const here = room();
  const client = quietly(wire.origin);
  const lines = watch(client, "lines:list", { room: here });
  await lines.until(() => true);
  for (const text of ["lost once", "lost twice"]) {
    wire.deafen();
    const answered = wire.says("MutationResponse");
    const done = client.mutation(anyApi.lines.add, { room: here, text });
    await patiently(answered, "the answer on the wire");
    wire.cut();
    wire.hear();
    await patiently(done, "the answer at last");
  }
  const now = await quietly().query(anyApi.lines.list, { room: here });
  assert.deepEqual(texts(now), ["lost once", "lost twice"]);
  assert.deepEqual(texts(lines.seen.at(-1).value), ["lost once", "lost twice"]);
  wire.close();
};

cases["a connection that was cut comes back with what happened meanwhile"] = async () => {
  const wire = await openWire(origin);
  const here = room();
  const client = quietly(wire.origin);
  const lines = watch(client, "lines:list", { room: here });
  await lines.until(() => true);
  const other = quietly();
  for (let i = 0; i < 5; i++) {
    wire.cut();
    await other.mutation(anyApi.lines.add, { room: here, text: `meanwhile ${i}` });
    await lines.until(({ value }) => value.length === i + 1);
  }
  assert.ok(client.connectionState().connectionCount >= 2);
  wire.close();
};

cases["an action under way when the connection breaks is rejected"] = async () => {
  const wire = await openWire(origin);
  const client = quietly(wire.origin);
  await client.action(anyApi.echo.action, { value: 0 });
  const pending = client.action(anyApi.echo.slow_action, {});
  setTimeout(wire.cut, 200);
  await assert.rejects(patiently(pending, "the rejection"), /Connection lost while action was in flight/);
  wire.close();
};

cases["15: of ten sign-ins at once the last one counts"] = async () => {
  const client = quietly();
  const who = watch(client, "notes:who");
  for (const token of tokens.many) client.setAuth(async () => token);
  await who.until(({ value }) => value === tokens.last, "the last user");
  client.client.clearAuth();
  await who.until(({ value }) => value === null, "nobody");
};

cases["15: ten sign-ins one after the other are ten versions of one connection"] = async () => {
  const { Socket, sockets } = recording();
  const client = quietly(origin, { webSocketConstructor: Socket });
  const who = watch(client, "notes:who");
  for (const token of tokens.many) {
    const signedIn = new Promise((done) => client.setAuth(async () => token, (is) => is && done()));
    await patiently(signedIn, "being signed in");
  }
  await who.until(({ value }) => value === tokens.last, "the last user");
  assert.equal(sockets.length, 1);
  const [{ sent, heard }] = sockets;
  const bases = sent.filter(({ type }) => type === "Authenticate").map((each) => each.baseVersion);
  assert.deepEqual(bases, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const versions = heard.filter(({ type }) => type === "Transition").map((each) => each.endVersion.identity);
  assert.deepEqual(versions, [...versions].sort((a, b) => a - b));
  assert.equal(versions.at(-1), 10);
};

cases["16: a token that expires on an open connection is replaced"] = async () => {
  const { Socket, sockets } = recording();
  const client = quietly(origin, { webSocketConstructor: Socket });
  const fetched = [];
  // Without a sign of when it expires, the client cannot renew it by itself.
  client.setAuth(async ({ forceRefreshToken }) => {
    fetched.push(forceRefreshToken);
    return fetched.length <= 2 ? tokens.short : tokens.long;
  });
  const who = watch(client, "notes:who");
  await who.until(({ value }) => value === tokens.user);
  const before = fetched.length;
  const expired = new Promise((done) => setTimeout(done, tokens.shortSeconds * 1000));
  await expired;
  await patiently(client.mutation(anyApi.lines.add, { room: room(), text: "after" }), "the answer");
  await who.until(({ value }) => value === tokens.user);
  assert.ok(fetched.length > before, "another token was fetched");
  assert.deepEqual(attempted(sockets), [false]);
};

cases["17: a bad token leaves the client signed out, and its queries work"] = async () => {
  const { Socket, sockets } = recording();
  const client = quietly(origin, { webSocketConstructor: Socket });
  const who = watch(client, "notes:who");
  const told = [];
  const out = new Promise((done) => {
    client.setAuth(async () => "eyJhbGciOiJub25lIn0.e30.", (is) => {
      told.push(is);
      if (!is) done();
    });
  });
  await patiently(out, "being signed out");
  assert.ok(!told.includes(true));
  await who.until(({ value }) => value === null);
  assert.equal(await client.query(anyApi.notes.who, {}), null);
  assert.ok(attempted(sockets).length > 0);
  assert.ok(attempted(sockets).every(Boolean));
};

cases["18: a result of twelve megabytes arrives"] = async () => {
  const client = quietly();
  const large = await patiently(client.query(anyApi.echo.large, { size: 12_000_000 }), "it");
  assert.equal(large.length, 12_000_000);
  assert.ok(large.startsWith("é"));
};

cases["19: pages grow in place, without a gap or a repetition, also after a reconnect"] = async () => {
  const wire = await openWire(origin);
  const here = room();
  const writer = quietly();
  for (let i = 0; i < 20; i++) {
    await writer.mutation(anyApi.lines.put, { room: here, place: i * 10, text: `at ${i * 10}` });
  }
  const { Socket, sockets } = recording();
  const client = quietly(wire.origin, { webSocketConstructor: Socket });
  const adds = (sent) =>
    sent
      .flatMap(({ modifications }) => modifications ?? [])
      .filter(({ type }) => type === "Add");
  const seen = [];
  const waiting = new Set();
  const pages = client.onPaginatedUpdate_experimental(
    anyApi.lines.pages,
    { room: here },
    { initialNumItems: 5 },
    (result) => {
      seen.push(result);
      for (const look of waiting) look();
    },
  );
  const places = (result) => result.results.map((line) => line.place);
  const until = (holds) =>
    patiently(
      new Promise((done) => {
        const look = () => seen.length && holds(seen.at(-1)) && done(seen.at(-1));
        waiting.add(look);
        look();
      }),
      `a page; the last was ${JSON.stringify(seen.at(-1))}`,
    );
  await until((result) => result.results.length === 5 && result.status === "CanLoadMore");
  seen.at(-1).loadMore(5);
  await until((result) => result.results.length === 10 && result.status === "CanLoadMore");
  // Into the first page's range.
  await writer.mutation(anyApi.lines.put, { room: here, place: 15, text: "between" });
  const grown = await until((result) => result.results.length === 11);
  const wanted = [0, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90];
  assert.deepEqual(places(grown), wanted);
  wire.cut();
  await writer.mutation(anyApi.lines.put, { room: here, place: 55, text: "while cut" });
  const back = await until((result) => result.results.length === 12);
  assert.deepEqual(places(back), [...wanted, 55].sort((a, b) => a - b));
  const journals = adds(sockets[1].sent).map(({ journal }) => typeof journal);
  assert.deepEqual(journals, ["string", "string"], "where both pages ended is said again");
  // Until the first page is split.
  for (const place of [1, 2, 3, 4, 5, 6, 7, 8]) {
    await writer.mutation(anyApi.lines.put, { room: here, place, text: "crowded" });
  }
  const crowded = await until((result) => result.results.length === 20);
  assert.deepEqual(places(crowded), [...wanted, 55, 1, 2, 3, 4, 5, 6, 7, 8].sort((a, b) => a - b));
  const ends = adds(sockets[1].sent).filter(({ args }) => args[0].paginationOpts.endCursor);
  assert.ok(ends.length >= 2, "the page was split in two");
  for (const { status, results } of seen) {
    if (status === "LoadingFirstPage") continue;
    const shown = places({ results });
    assert.deepEqual(shown, [...new Set(shown)].sort((a, b) => a - b), "no repetition, in order");
  }
  pages();
  wire.close();
};

cases["20: events of any kind are passed over"] = async () => {
  const { Socket, sockets } = recording();
  const client = quietly(origin, {
    webSocketConstructor: Socket,
    reportDebugInfoToConvex: true,
  });
  await client.query(anyApi.lines.count, {});
  for (const event of [null, 3, "text", [], { deep: [{}] }]) {
    sockets[0].send(JSON.stringify({ type: "Event", eventType: "NoSuchEvent", event }));
  }
  await client.mutation(anyApi.lines.add, { room: room(), text: "after all that" });
  assert.equal(sockets.length, 1);
  assert.ok(sockets[0].sent.some(({ eventType }) => eventType === "ClientConnect"));
};

cases["21: a query that fails recovers by itself"] = async () => {
  const here = room();
  const client = quietly();
  const strict = watch(client, "lines:strict", { room: here });
  await strict.until(({ error }) => error);
  assert.deepEqual(strict.seen.at(-1).error.data, { kind: "empty" });
  await client.mutation(anyApi.lines.add, { room: here, text: "now there is one" });
  const well = await strict.until(({ value }) => value !== undefined);
  assert.equal(well.value, 1);
};

cases["log lines of functions reach the console"] = async () => {
  const lines = [];
  const note = (...parts) => lines.push(parts.join(" "));
  const client = quietly(origin, {
    logger: { log: note, warn: note, error: note, logVerbose: () => {} },
  });
  await client.mutation(anyApi.notes.add, { text: "spoken" });
  assert.ok(lines.some((line) => line.includes("added") && line.includes("spoken")), String(lines));
};

cases["an administrator watches what is internal"] = async () => {
  const client = quietly();
  client.client.setAdminAuth(adminKey);
  const secret = watch(client, "notes:secret");
  assert.equal((await secret.until(({ value }) => value !== undefined)).value, "secret");
  const stranger = quietly();
  await assert.rejects(stranger.query(anyApi.notes.secret, {}), /Could not find public function/);
};

cases["all results of one client are of one moment"] = async () => {
  const here = room();
  const writer = quietly();
  await writer.mutation(anyApi.lines.open_accounts, { room: here });
  const watched = [];
  const sums = [];
  const client = new BaseConvexClient(
    origin,
    () => {
      const [left, right] = watched.map((query) => client.localQueryResultByToken(query));
      if (left !== undefined && right !== undefined) sums.push(left + right);
    },
    { logger: false, unsavedChangesWarning: false, webSocketConstructor: WebSocket },
  );
  for (const side of ["left", "right"]) {
    watched.push(client.subscribe("lines:balance", { room: here, side }).queryToken);
  }
  const amounts = Array.from({ length: 50 }, (_, i) => i);
  await Promise.all(
    amounts.map((amount) => writer.mutation(anyApi.lines.move, { room: here, amount })),
  );
  const settled = await writer.query(anyApi.lines.balance, { room: here, side: "left" });
  await patiently(
    new Promise((done) => {
      const look = () =>
        client.localQueryResultByToken(watched[0]) === settled ? done() : setTimeout(look, 5);
      look();
    }),
    "the last state",
  );
  await client.close();
  assert.ok(sums.length > 0);
  assert.deepEqual([...new Set(sums)], [100]);
};

const results = {};
await Promise.all(
  Object.entries(cases).map(async ([name, run]) => {
    try {
      await run();
      results[name] = null;
    } catch (error) {
      results[name] = String(error?.stack ?? error);
    }
  }),
);
await Promise.all(open.map((client) => client.close()));
console.log(JSON.stringify(results));
process.exit(0);
