// tus-js-client, the reference client of tus, uploads a large video.
//
//   node clients/tus/uploads.mjs VIDEO BLAKE3
//
// NODE_MODULES is the folder that holds tus-js-client; see also ../service.mjs.

import { createHash } from "node:crypto";
import { closeSync, createReadStream, openSync, readSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

import { must, proven, Service } from "../service.mjs";

const tus = createRequire(`${process.env.NODE_MODULES}/`)("tus-js-client");
const [video, blake3] = process.argv.slice(2);
const size = statSync(video).size;
const urlStorage = new tus.FileUrlStorage(`${process.env.DATA}.urls.json`);
const chunkSize = 3_000_000; // no multiple of the service's parts

const service = new Service();
await service.start();
const authorization = { Authorization: `Bearer ${await service.token()}` };

/** An upload, its promise, and the requests that were made for it. */
function upload(options = {}) {
  const requests = [];
  const made = {};
  made.requests = requests;
  made.done = new Promise((resolve, reject) => {
    made.upload = new tus.Upload(createReadStream(video), {
      endpoint: `${service.url}/v1/uploads`,
      headers: authorization,
      metadata: { filename: "a talk.mp4" },
      chunkSize,
      onSuccess: resolve,
      onError: reject,
      ...options,
      onAfterResponse(request, response) {
        const offset = Number(request.getHeader("Upload-Offset") ?? 0);
        requests.push({ method: request.getMethod(), offset, status: response.getStatus() });
      },
    });
  });
  made.id = () => made.upload.url.split("/").pop();
  made.offsets = () => requests.filter((r) => r.method === "PATCH").map((r) => r.offset);
  return made;
}

/** Waits until an upload is `part` done. */
function reached(part, run) {
  return new Promise((resolve, reject) => {
    const upload = run((sent) => sent > size * part && resolve(upload));
    upload.done.catch(reject);
    upload.upload.start();
  });
}

async function offset(url) {
  const answer = await fetch(url, { method: "HEAD", headers: { ...authorization, "Tus-Resumable": "1.0.0" } });
  return { status: answer.status, offset: Number(answer.headers.get("upload-offset")) };
}

async function isRight(id, how) {
  const options = { upload: id, label: how, end_seconds: 1 };
  const answer = await service.ask("POST", "/v1/jobs", options);
  must(answer.status === 201, `the job is answered with ${answer.status}: ${await answer.clone().text()}`);
  const job = await service.ended((await answer.json()).id);
  must(job.input_bytes === size, `${how}: ${job.input_bytes} bytes instead of ${size}`);
  must(job.input_blake3 === blake3, `${how}: the hash is ${job.input_blake3}`);
  must(job.file_name === "a talk.mp4", `${how}: it is called ${job.file_name}`);
}

// --- abort, and go on as a new process would ---------------------------------------------------

const aborted = await reached(0.4, (onProgress) => upload({ urlStorage, onProgress }));
await aborted.upload.abort();
const resumed = upload({ urlStorage });
const [previous] = await resumed.upload.findPreviousUploads();
must(previous, "the upload is not found again");
resumed.upload.resumeFromPreviousUpload(previous);
resumed.upload.start();
await resumed.done;
must(resumed.requests[0].method === "HEAD", "it does not ask how far it is");
const from = resumed.offsets()[0];
must(from > 0, "it began anew");
await isRight(resumed.id(), "resumed");
proven(`tus: an upload of ${size} bytes that was aborted goes on at ${from}, and its job has the right hash`);

// --- the service dies and comes back -----------------------------------------------------------

// One request for all of it, so that the service dies within; the client's own delays.
const survivor = await reached(0.5, (onProgress) =>
  upload({ onProgress, chunkSize: Number.POSITIVE_INFINITY }));
await service.kill();
await sleep(500);
await service.start();
await survivor.done;
const offsets = survivor.offsets();
must(offsets.at(-1) > 0, "it began anew");
await isRight(survivor.id(), "survivor");
proven(`tus: the service killed in the middle, the client goes on by itself at ${offsets.at(-1)}`);

// --- checksums ---------------------------------------------------------------------------------

// The client has no checksums of its own, but lets others see to its requests.
const file = openSync(video);
let spoiled = 0;
const checked = upload({
  onShouldRetry: (error) => error.originalResponse?.getStatus() === 460,
  retryDelays: [0],
  onBeforeRequest(request) {
    if (request.getMethod() !== "PATCH") return;
    const begin = Number(request.getHeader("Upload-Offset"));
    const chunk = Buffer.alloc(Math.min(chunkSize, size - begin));
    readSync(file, chunk, 0, chunk.length, begin);
    if (begin > 0 && spoiled++ === 0) chunk[0] ^= 1;
    const sum = createHash("sha256").update(chunk).digest("base64");
    request.setHeader("Upload-Checksum", `sha256 ${sum}`);
  },
});
checked.upload.start();
await checked.done;
closeSync(file);
const refused = checked.requests.findIndex((r) => r.status === 460);
must(refused > 0, "a wrong checksum is taken");
const again = checked.requests.slice(refused + 1).find((r) => r.method === "PATCH");
must(again.offset === checked.requests[refused].offset, "refused bytes are kept");
await isRight(checked.id(), "checked");
proven("tus: bytes with a wrong checksum are refused with 460 and not kept; the right ones are taken");

// --- POST instead of PATCH ---------------------------------------------------------------------

const overridden = upload({ overridePatchMethod: true });
overridden.upload.start();
await overridden.done;
must(!overridden.requests.some((r) => r.method === "PATCH"), "it sends PATCH");
await isRight(overridden.id(), "overridden");
proven("tus: X-HTTP-Method-Override stands for PATCH");

// --- termination -------------------------------------------------------------------------------

const given = await reached(0.3, (onProgress) => upload({ onProgress }));
await given.upload.abort(true);
must((await offset(given.upload.url)).status === 404, "it is still there");
proven("tus: an upload that the client terminates is gone");

await service.kill();
process.exit(0);
