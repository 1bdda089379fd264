// A `tonemill serve` of a script's own, that can be killed and started again where it was.
//
// TONEMILL names the program, DATA an empty folder.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const { TONEMILL: program, DATA: data } = process.env;
const password = "of-the-clients-alone";

/** Says one thing that is proven. */
export const proven = (text) => console.log(`clients: ${text}`);

/** Ends the script unless `condition` holds. */
export function must(condition, text) {
  if (!condition) throw new Error(text);
}

// A client's errors hold everything that it knows, tokens too.
process.on("uncaughtException", (error) => {
  console.error(`clients: ${error.message}`);
  process.exit(1);
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

export class Service {
  #flags;
  #process;
  #listen = "127.0.0.1:0";
  #token;

  constructor(...flags) {
    this.#flags = flags;
    // Whatever ends the script ends its service.
    process.on("exit", () => this.#process?.kill("SIGKILL"));
  }

  /** Starts it, the second time at the address that it had. */
  async start() {
    const flags = ["serve", "--data", data, "--listen", this.#listen, ...this.#flags];
    const env = { ...process.env, TONEMILL_ADMIN_PASSWORD: password };
    this.#process = spawn(program, flags, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#process.stderr.on("data", (text) => appendFileSync(`${data}.log`, text));
    for await (const line of createInterface({ input: this.#process.stdout })) {
      const found = line.match(/http:\/\/(\S+)/);
      if (!found) continue;
      this.url = found[0];
      this.#listen = found[1];
      this.#process.stdout.resume();
      return;
    }
    throw new Error(`the service does not start: see ${data}.log`);
  }

  /** Ends it as a power cut does. */
  async kill() {
    this.#process.kill("SIGKILL");
    await once(this.#process, "exit");
  }

  /** An access token of its administrator. */
  async token() {
    if (!this.#token) {
      const basic = Buffer.from(`admin:${password}`).toString("base64");
      const headers = { Authorization: `Basic ${basic}` };
      const answer = await fetch(`${this.url}/login`, { method: "POST", headers });
      must(answer.status === 200, `the log-in is answered with ${answer.status}`);
      this.#token = await answer.text();
    }
    return this.#token;
  }

  /** Asks as its administrator. */
  async ask(method, path, json) {
    const headers = { Authorization: `Bearer ${await this.token()}` };
    if (json) headers["Content-Type"] = "application/json";
    const body = json && JSON.stringify(json);
    return fetch(new URL(path, this.url), { method, headers, body });
  }

  /** A job when it is over. */
  async ended(job) {
    for (;;) {
      const view = await (await this.ask("GET", `/v1/jobs/${job}`)).json();
      if (view.state === "finished") return view;
      must(!["failed", "cancelled"].includes(view.state), JSON.stringify(view.failure));
      await sleep(200);
    }
  }
}
