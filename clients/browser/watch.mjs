// A browser on a page of another origin uploads, submits and watches, while the service is killed.
//
//   node clients/browser/watch.mjs SOUND
//
// CHROMIUM names the browser, NODE_MODULES the folder that holds tus-js-client; see also
// ../service.mjs.

import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { must, proven, Service } from "../service.mjs";

const [sound] = process.argv.slice(2);
const { CHROMIUM, DATA, NODE_MODULES } = process.env;
const here = new URL(".", import.meta.url).pathname;
const files = {
  "/": ["text/html", `${here}/page.html`],
  "/tus.js": ["text/javascript", `${NODE_MODULES}/tus-js-client/dist/tus.min.js`],
  "/sound": ["application/octet-stream", sound],
};

// --- the page's own server ---------------------------------------------------------------------

const news = new EventEmitter();
const told = [];
const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://here");
  if (pathname === "/told") {
    const what = JSON.parse(Buffer.concat(await request.toArray()));
    told.push(what);
    news.emit("told");
    return response.end();
  }
  const [kind, file] = files[pathname] ?? [];
  if (!file) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": kind, "Content-Length": statSync(file).size });
  createReadStream(file).pipe(response);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const origin = `http://127.0.0.1:${server.address().port}`;

/** The first thing told from `begin` on that is `wanted`. */
async function hear(wanted, begin = 0) {
  const patience = AbortSignal.timeout(240_000);
  for (;;) {
    const error = told.find((what) => what.error);
    must(!error, `the page says: ${error?.error}`);
    const found = told.slice(begin).find(wanted);
    if (found) return found;
    await once(news, "told", { signal: patience });
  }
}

// --- the service and the browser ---------------------------------------------------------------

const service = new Service("--cors-origins", origin);
await service.start();
const query = new URLSearchParams({ service: service.url, token: await service.token() });
const flags = ["--headless", "--disable-gpu", "--remote-debugging-port=0", `--user-data-dir=${DATA}.browser`];
// Its sandbox does not work for root.
if (process.getuid() === 0) flags.push("--no-sandbox");
const browser = spawn(CHROMIUM, [...flags, `${origin}/?${query}`], { stdio: "ignore", detached: true });
process.on("exit", () => {
  try {
    process.kill(-browser.pid, "SIGKILL"); // with the processes that it started
  } catch {
    // It is gone.
  }
});

const { job, bytes, limit } = await hear((what) => what.job);
must(bytes === statSync(sound).size, `the upload has ${bytes} bytes`);
must(limit, "a page cannot read RateLimit");
proven("browser: a page of another origin uploads with tus and submits the job");

await hear((what) => what.state === "running");
const { progress } = await hear((what) => what.progress?.encoded_seconds > 0);
must(progress.percent <= 100, `progress is ${JSON.stringify(progress)}`);
proven("browser: EventSource tells states with ids, and progress in between");

const before = told.length;
await service.kill();
await hear((what) => what.closed === false, before);
await sleep(1000);
await service.start();
await hear((what) => what.opened, before);
await hear((what) => what.state === "finished", before);
const versions = told.filter((what) => what.state).map((what) => Number(what.id));
must(versions.every((version, i) => i === 0 || version > versions[i - 1]), `states: ${versions}`);
const states = told.filter((what) => what.state).map((what) => what.state);
proven(`browser: the service killed, it comes back by itself and is told no state twice: ${states.join(", ")}`);

await hear((what) => what.closed === true, told.findIndex((what) => what.state === "finished"));
const view = await service.ended(job);
must(view.version === versions.at(-1), "the last state is another");
proven("browser: after the end it is answered with 204 and does not come back");

await service.kill();
process.exit(0);
