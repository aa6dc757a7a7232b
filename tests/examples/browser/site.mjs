// The page of an example, built as its README says, and served as any web server would.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import path from "node:path";

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/** Build the page in `folder` for the backend at `backend`, and serve it; gives its origin. */
export async function site(folder, backend, out) {
  await build(folder, backend, out);
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    const file = path.join(out, pathname === "/" ? "index.html" : pathname);
    try {
      const bytes = await readFile(file);
      response.writeHead(200, { "content-type": TYPES[path.extname(file)] }).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  server.unref();
  return `http://127.0.0.1:${server.address().port}`;
}

function build(folder, backend, out) {
  const command = ["run", "build", "--", "--outDir", out, "--emptyOutDir", "--logLevel", "warn"];
  return new Promise((done, fail) => {
    const npm = spawn("npm", command, {
      cwd: folder,
      env: { ...process.env, VITE_CONVEX_URL: backend },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    for (const stream of [npm.stdout, npm.stderr]) stream.on("data", (text) => (said += text));
    npm.on("error", fail);
    npm.on("close", (code) => (code === 0 ? done() : fail(new Error(`npm run build:\n${said}`))));
  });
}
