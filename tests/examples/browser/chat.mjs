// Two people, in two windows of a real browser, use the chat.
//   node chat.mjs <origin of the backend> <folder of the page> <a scratch folder> <chromium>
// Prints one JSON object: for each case null, or how it failed.
//
// "Near" is a page that reaches the backend directly; "far" is one at the end of a wire.
import assert from "node:assert/strict";
import path from "node:path";
import { chromium } from "playwright-core";
import { site } from "./site.mjs";
import { Wire } from "./wire.mjs";

const [backend, folder, scratch, executablePath] = process.argv.slice(2);
const PATIENCE_MS = 20_000;

const cases = {};

cases["a newcomer chooses a name, and finds an empty room"] = async ({ near }) => {
  const page = await near.visit("newcomers");
  await page.getByLabel("What should the others call you?").fill("  Left   hand ");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Nobody has said anything yet" }).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "Nobody has said anything yet" }).waitFor();
  assert.equal(await page.locator(".me-name").textContent(), "Left hand");
};

cases["what is written in one page appears in the other"] = async ({ two }) => {
  const [left, right] = await two.enter("talk");
  await say(left, "Can you read this?");
  await shows(right, ["Can you read this?"]);
  await say(right, "Word for word: grüße, 漢字, 🦀");
  await say(right, "And on\ntwo lines");
  const all = ["Can you read this?", "Word for word: grüße, 漢字, 🦀", "And on\ntwo lines"];
  await shows(left, all);
  await shows(right, all);
};

cases["what one writes is there before the server has it"] = async ({ two, wire }) => {
  const [left, right] = await two.enter("haste");
  wire.hold();
  await say(right, "Already here");
  await shows(right, ["Already here"], { pending: 1 });
  await shows(left, []);
  await wire.mend();
  await shows(left, ["Already here"]);
  await shows(right, ["Already here"]);
};

cases["a page that lost the network says so, and loses nothing"] = async ({ two, wire }) => {
  const [left, right] = await two.enter("cut");
  await say(left, "Before");
  await shows(right, ["Before"]);
  right.expectError(/WebSocket connection to .* failed/);
  await wire.cut();
  await right.getByRole("status").getByText("Reconnecting…").waitFor();
  await say(left, "Meanwhile, without you");
  await say(right, "First into the void");
  await say(right, "Second into the void");
  await shows(right, ["Before", "First into the void", "Second into the void"], { pending: 2 });
  await right.getByText("Your 2 messages are sent as soon as it is back.").waitFor();
  await shows(left, ["Before", "Meanwhile, without you"]);
  await wire.mend();
  const all = ["Before", "Meanwhile, without you", "First into the void", "Second into the void"];
  await shows(right, all);
  await shows(left, all);
  await right.getByText("Live", { exact: true }).waitFor();
  await say(left, "After");
  await shows(right, [...all, "After"]);
};

cases["a message whose answer was lost is said once"] = async ({ two, wire }) => {
  const [left, right] = await two.enter("once");
  await say(left, "Ready?");
  await shows(right, ["Ready?"]);
  right.expectError(/WebSocket connection to .* failed/);
  wire.deafen();
  await say(right, "Only once");
  await shows(left, ["Ready?", "Only once"]);
  await shows(right, ["Ready?", "Only once"], { pending: 1 });
  await wire.cut();
  await wire.mend();
  await shows(right, ["Ready?", "Only once"]);
  await say(right, "And then this");
  await shows(left, ["Ready?", "Only once", "And then this"]);
};

cases["older messages come page by page, none missing and none twice"] = async ({ two }) => {
  const said = Array.from({ length: 95 }, (_, i) => `Number ${i}`);
  for (const body of said) await call("mutation", "messages:send", { ...at("long"), body });
  const [page, other] = await two.enter("long");
  await shows(page, said.slice(-30));
  await page.getByRole("log").hover();
  await page.mouse.wheel(0, -50_000);
  await page.getByRole("button", { name: "To the newest" }).waitFor();
  // What is said while somebody reads back moves no page's edges, and does not move the reader.
  for (const body of ["Meanwhile 1", "Meanwhile 2"]) {
    await say(other, body);
    said.push(body);
  }
  const back = page.getByRole("button", { name: "2 new messages" });
  await back.waitFor();
  const hasMore = (count) => document.querySelectorAll(".bubble").length > count;
  for (let shown = 0; shown < said.length; shown = (await bodies(page)).length) {
    await page.waitForFunction(hasMore, shown);
    await page.mouse.wheel(0, -50_000);
  }
  await shows(page, said);
  await page.getByText("This is where long begins.").waitFor();
  await back.click();
  await back.waitFor({ state: "detached" });
};

cases["a refused message is explained, and given back"] = async ({ near }) => {
  const page = await near.enter("refused", "Left");
  page.expectError(/\[CONVEX M\(messages:send\)\][^]*Uncaught ConvexError/);
  await say(page, "   ");
  const problem = page.getByRole("alert");
  await problem.getByText("There is nothing in this message yet.").waitFor();
  await say(page, "y".repeat(2001));
  await problem.getByText("A message has at most 2,000 characters; this one has 2,001.").waitFor();
  await shows(page, []);
  const box = page.getByRole("textbox", { name: "Message to refused" });
  await page.waitForFunction((box) => box.value.length === 2001, await box.elementHandle());
  await box.fill("y".repeat(2000));
  assert.equal(await problem.count(), 0);
  await page.keyboard.press("Enter");
  await shows(page, ["y".repeat(2000)]);
};

cases["somebody who is writing is shown to be, until it is said"] = async ({ two }) => {
  const [left, right] = await two.enter("hints");
  await say(left, "Go on");
  await shows(right, ["Go on"]);
  await right.keyboard.type("Well");
  await left.getByText("Right is writing…").waitFor();
  await right.keyboard.press("Enter");
  await left.getByText("Right is writing…").waitFor({ state: "detached" });
  await shows(left, ["Go on", "Well"]);
};

cases["a room where something was said meanwhile is marked, until it is read"] = async ({ two }) => {
  const [left, right] = await two.enter("here");
  const there = left.getByRole("link", { name: "there-too" });
  await right.getByLabel("Name of a new room").fill("There too");
  await right.keyboard.press("Enter");
  await right.getByRole("heading", { name: "there-too" }).waitFor();
  await say(right, "Over here");
  await there.getByText("New messages").waitFor();
  await there.getByText("Right: Over here").waitFor();
  await there.click();
  await shows(left, ["Over here"]);
  await there.getByText("New messages").waitFor({ state: "detached" });
};

cases["on a narrow screen the rooms wait behind a button, for fingers and keys"] = async ({ near }) => {
  const page = await near.enter("narrow", "Left", { viewport: { width: 360, height: 640 } });
  const link = page.getByRole("link", { name: "lobby" });
  await link.waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "Rooms" }).press("Enter");
  await link.waitFor();
  await page.keyboard.press("Escape");
  await link.waitFor({ state: "hidden" });
  await page.waitForFunction(() => document.activeElement?.id === "menu");
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, 360, "nothing is wider than the screen");
};

cases["a page of another origin may use the HTTP API"] = async ({ near }) => {
  const page = await near.enter("fetching", "Left");
  const answers = await page.evaluate(async (backend) => {
    const ask = async (kind, path, args) => {
      const response = await fetch(`${backend}/api/${kind}`, {
        method: "POST",
        headers: { "content-type": "application/json", "convex-client": "npm-1.48.0" },
        body: JSON.stringify({ path, args, format: "json" }),
      });
      return response.json();
    };
    const said = { room: "fetching", author: "Fetched", body: "Over HTTP" };
    return {
      origins: [location.origin, backend],
      sent: await ask("mutation", "messages:send", said),
      rooms: await ask("query", "rooms:list", {}),
      refused: await ask("mutation", "messages:send", { ...said, body: "" }),
      version: await (await fetch(`${backend}/version`)).text(),
    };
  }, backend);
  assert.notEqual(...answers.origins);
  assert.equal(answers.sent.status, "success");
  assert.ok(answers.rooms.value.some((room) => room.name === "fetching"));
  assert.equal(answers.refused.errorData.field, "body");
  assert.ok(answers.version.length > 0);
  await shows(page, ["Over HTTP"]);
};

// What people do

async function say(page, text) {
  const box = page.getByRole("textbox", { name: /^Message to/ });
  await box.fill(text);
  await box.press("Enter");
}

const at = (room) => ({ room, author: "Somebody else" });

async function call(kind, path, args) {
  const response = await fetch(`${backend}/api/${kind}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ path, args }),
  });
  const answer = await response.json();
  assert.equal(answer.status, "success", JSON.stringify(answer));
}

// What people see

const bodies = (page) => page.locator(".bubble").allTextContents();

/** Wait until the room shows exactly these messages, in this order, the last ones still pending. */
async function shows(page, texts, { pending = 0 } = {}) {
  const isSo = ([texts, pending]) => {
    const shown = [...document.querySelectorAll(".bubble")].map((bubble) => bubble.textContent);
    const waiting = document.querySelectorAll('[data-pending="true"]').length;
    return waiting === pending && JSON.stringify(shown) === texts;
  };
  try {
    await page.waitForFunction(isSo, [JSON.stringify(texts), pending]);
  } catch {
    const waiting = await page.locator('[data-pending="true"]').count();
    assert.deepEqual({ shown: await bodies(page), waiting }, { shown: texts, waiting: pending });
  }
}

// The windows

class Place {
  constructor(browser, origin) {
    this.browser = browser;
    this.origin = origin;
    this.contexts = [];
    this.complaints = [];
  }

  /** Open a window of somebody who was never here. */
  async visit(room, options = {}) {
    // What moves all the time costs a machine without a graphics card dearly.
    const context = await this.browser.newContext({ reducedMotion: "reduce", ...options });
    this.contexts.push(context);
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const expected = [];
    page.expectError = (pattern) => expected.push(pattern);
    const complain = (text) => {
      if (!expected.some((pattern) => pattern.test(text))) this.complaints.push(text);
    };
    page.on("pageerror", (error) => complain(String(error)));
    page.on("console", (line) => {
      if (["error", "warning"].includes(line.type())) complain(line.text());
    });
    await page.goto(`${this.origin}/#${room}`);
    return page;
  }

  /** Open a window, and come in under a name. */
  async enter(room, name, options) {
    const page = await this.visit(room, options);
    await page.getByLabel("What should the others call you?").fill(name);
    await page.getByRole("button", { name: "Start" }).click();
    await page.getByText("Live", { exact: true }).waitFor();
    return page;
  }

  /** Keep how the windows look, for whoever wants to know why a case failed. */
  async picture(folder) {
    for (const page of this.contexts.flatMap((context) => context.pages())) {
      const { host, hash } = new URL(page.url());
      await page.screenshot({ path: path.join(folder, `${hash.slice(1)}-${host}.png`) });
    }
  }

  async leave() {
    await Promise.all(this.contexts.splice(0).map((context) => context.close()));
    return this.complaints.splice(0);
  }
}

async function outcome(run, places) {
  let failure = null;
  try {
    await run(places);
  } catch (error) {
    failure = error.stack ?? String(error);
    await Promise.all([places.near.picture(scratch), places.far.picture(scratch)]);
  }
  // What one case did to the wire is no matter of the next.
  await places.wire.mend();
  const complaints = (await Promise.all([places.near.leave(), places.far.leave()])).flat();
  return failure ?? (complaints.length === 0 ? null : `The console says:\n${complaints.join("\n")}`);
}

/** Somebody called Left at the near place and somebody called Right at the far one. */
const together = (near, far) => ({
  enter: (room) => Promise.all([near.enter(room, "Left"), far.enter(room, "Right")]),
});

const wire = await Wire.to(backend);
const [browser, nearOrigin, farOrigin] = await Promise.all([
  chromium.launch({ executablePath }),
  site(folder, backend, path.join(scratch, "near")),
  site(folder, wire.origin, path.join(scratch, "far")),
]);
const results = {};
try {
  const near = new Place(browser, nearOrigin);
  const far = new Place(browser, farOrigin);
  const two = together(near, far);
  for (const [name, run] of Object.entries(cases)) {
    results[name] = await outcome(run, { near, far, two, wire });
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(results));
// The wire still listens.
process.exit(0);
