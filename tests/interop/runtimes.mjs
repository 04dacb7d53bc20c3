// Runs jobs in onnxruntime-node or onnxruntime-web: jobs come as lines of JSON on stdin, answers
// leave as lines of JSON on stdout. Usage: node runtimes.mjs onnxruntime-node|onnxruntime-web FOLDER
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [, , name, folder] = process.argv;
const require = createRequire(`${folder}/`);
const ort = require(name);
if (name === "onnxruntime-web") {
  ort.env.wasm.numThreads = 1;
}

const tensor = (value) => new ort.Tensor("float32", Float32Array.from(value.data), value.shape);

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  let told;
  try {
    const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(job.file)));
    const feed = {};
    for (const [key, value] of Object.entries(job.inputs)) {
      feed[key] = tensor(value);
    }
    const found = [];
    for (let run = 0; run < job.runs; run++) {
      const results = await session.run(feed);
      for (const [input, output] of job.states) {
        feed[input] = results[output];
      }
      found.push(Array.from(results[job.output].data));
    }
    told = { found };
  } catch (error) {
    told = { error: String(error.message ?? error) };
  }
  console.log(JSON.stringify(told));
}
