// What an app in JavaScript does with a deployment, through the official client.
//   node cases.mjs <origin> <admin key>
// Prints one JSON object: for each case null, or how it failed.
import assert from "node:assert/strict";
import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { ConvexError } from "convex/values";
import { values } from "./values.mjs";

const [origin, adminKey] = process.argv.slice(2);
async function failure(call) {
  try {
    const value = await call();
    assert.fail(`it answered ${JSON.stringify(value)}`);
  } catch (error) {
    return error;
  }
}

function recorder() {
  const lines = [];
  const add = (level) => (...parts) => lines.push([level, ...parts]);
  return {
    lines,
    log: add("log"),
    warn: add("warn"),
    error: add("error"),
    logVerbose: () => {},
  };
}

const quiet = () => new ConvexHttpClient(origin, { logger: false });
const calls = (client) => ({
  query: (name, args) => client.query(name, args),
  mutation: (name, args) => client.mutation(name, args),
  action: (name, args) => client.action(name, args),
  consistentQuery: (name, args) => client.consistentQuery(name, args),
});
const echoes = {
  query: anyApi.echo.query,
  mutation: anyApi.echo.mutation,
  action: anyApi.echo.action,
  consistentQuery: anyApi.echo.query,
};

const cases = {};

for (const kind of Object.keys(echoes)) {
  cases[`every value comes back from a ${kind}`] = async () => {
    const call = calls(quiet())[kind];
    for (const [name, value] of Object.entries(values)) {
      assert.deepStrictEqual(await call(echoes[kind], { value }), value, name);
    }
  };
}

cases["undefined fields are left out"] = async () => {
  assert.deepStrictEqual(await quiet().query(anyApi.echo.query, { value: { a: undefined } }), {});
  assert.equal(await quiet().query(anyApi.echo.query, { value: undefined }), null);
  assert.equal(await quiet().query(anyApi.echo.query), null);
};

cases["a function that returns nothing gives null"] = async () => {
  assert.equal(await quiet().query(anyApi.echo.nothing), null);
};

cases["what was written is there to be read"] = async () => {
  const client = quiet();
  const before = (await client.query(anyApi.notes.list)).length;
  assert.equal(await client.mutation(anyApi.notes.add, { text: "first" }), before + 1);
  assert.equal(await client.query("notes:list").then((notes) => notes.length), before + 1);
};

cases["mutations of one client keep their order"] = async () => {
  const client = quiet();
  const texts = Array.from({ length: 20 }, (_, i) => `ordered ${i}`);
  await Promise.all(texts.map((text) => client.mutation(anyApi.notes.add, { text })));
  const notes = await client.query(anyApi.notes.list);
  assert.deepStrictEqual(notes.filter((note) => note.startsWith("ordered")), texts);
};

cases["consistent queries see one moment"] = async () => {
  const client = quiet();
  const before = await client.consistentQuery(anyApi.notes.list);
  await quiet().mutation(anyApi.notes.add, { text: "later" });
  assert.deepStrictEqual(await client.consistentQuery(anyApi.notes.list), before);
  assert.equal((await quiet().consistentQuery(anyApi.notes.list)).at(-1), "later");
};

for (const kind of ["query", "mutation", "action"]) {
  cases[`a ConvexError of a ${kind} arrives with its data`] = async () => {
    const call = calls(quiet())[kind];
    const path = `echo:raise_${kind}`;
    for (const [name, data] of Object.entries(values)) {
      const error = await failure(() => call(path, { data }));
      assert.ok(error instanceof ConvexError, `${name}: ${error}`);
      assert.deepStrictEqual(error.data, data, name);
      assert.match(error.message, /Uncaught ConvexError: /);
    }
  };
  cases[`an ordinary error of a ${kind} arrives as text`] = async () => {
    const path = { query: "echo:fail", mutation: "echo:fail_mutation", action: "echo:fail_action" };
    const error = await failure(() => calls(quiet())[kind](path[kind], {}));
    assert.ok(!(error instanceof ConvexError));
    assert.match(
      error.message,
      /^\[Request ID: [0-9a-f]{16}\] Server Error\nUncaught ValueError: no stock\n {4}at \S+ \(convex\/echo\.py:\d+\)\n$/,
    );
  };
}

cases["a ConvexError without data has null"] = async () => {
  const error = await failure(() => quiet().query("echo:bare", {}));
  assert.ok(error instanceof ConvexError);
  assert.equal(error.data, null);
};

cases["log lines reach the client's logger"] = async () => {
  const logger = recorder();
  const client = new ConvexHttpClient(origin, { logger });
  await client.mutation("notes:add", { text: "logged" });
  const text = JSON.stringify(logger.lines);
  assert.match(text, /CONVEX M\(notes:add\)/);
  assert.match(text, /added logged/);
  assert.match(text, /low on ink/);
  assert.doesNotMatch(text, /Could not parse/);
  await failure(() => client.mutation("echo:fail_mutation", {}));
  assert.match(JSON.stringify(logger.lines), /about to fail/);
};

cases["unknown and internal functions read the same"] = async () => {
  for (const kind of ["query", "mutation", "action"]) {
    const call = calls(quiet())[kind];
    for (const name of ["notes:nope", "nowhere:at_all", "notes:secret"]) {
      const error = await failure(() => call(name, {}));
      assert.ok(
        error.message.endsWith(`Could not find public function for '${name}'.\n`),
        error.message,
      );
    }
  }
};

cases["a function of another kind is named"] = async () => {
  const error = await failure(() => quiet().mutation("echo:one", {}));
  assert.match(error.message, /Trying to execute echo:one as Mutation, but it is defined as Query\./);
};

cases["wrong arguments are named"] = async () => {
  const wrong = [{}, { count: "three" }, { count: 1.5 }, { count: 1, extra: 2 }, { count: 1n }];
  for (const args of wrong) {
    const error = await failure(() => quiet().query("echo:typed", args));
    assert.match(error.message, /\nArgumentValidationError: /, String(Object.keys(args)));
  }
  assert.equal(await quiet().query("echo:typed", { count: 3 }), "x3");
};

cases["a result that is no value is an error"] = async () => {
  const error = await failure(() => quiet().query("echo:bad_value", {}));
  assert.match(error.message, /Server Error\n/);
};

cases["a token of nobody's is refused with its reason"] = async () => {
  const client = quiet();
  client.setAuth("eyJhbGciOiJub25lIn0.e30.");
  const error = await failure(() => client.query("notes:who", {}));
  assert.match(error.message, /"code":"NoAuthProvider"/);
  client.clearAuth();
  assert.equal(await client.query("notes:who", {}), null);
};

cases["an administrator calls what is internal"] = async () => {
  const client = quiet();
  await assert.rejects(client.function("notes:secret", undefined, {}), /BadDeployKey/);
  client.setAdminAuth(adminKey);
  assert.equal(await client.function("notes:secret", undefined, {}), "secret");
  assert.equal(await client.function("echo:mutation", undefined, { value: 5n }), 5n);
  assert.equal(await client.query("notes:secret", {}), "secret");
};

cases["an administrator acts as a user"] = async () => {
  const client = quiet();
  client.setAdminAuth(adminKey, { issuer: "https://issuer.example", subject: "ada" });
  assert.equal(await client.query("notes:who", {}), "https://issuer.example|ada");
};

cases["a wrong admin key is refused"] = async () => {
  const client = quiet();
  client.setAdminAuth(`${adminKey}0`);
  const error = await failure(() => client.query("notes:list", {}));
  assert.match(error.message, /"code":"/);
};

const results = {};
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    results[name] = null;
  } catch (error) {
    results[name] = String(error?.stack ?? error);
  }
}
console.log(JSON.stringify(results));
