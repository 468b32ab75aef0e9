// Runs the network beside the page, so that the page stays responsive: pixels in, labels out.

import { counts, labelsOf, planes, readingSize } from "./pixels.js";

const FEWEST_EQUAL = 0.999;

let model, network, ort, session, engine;

onmessage = async ({ data }) => {
  try {
    if (data.model) await start(data);
    else await label(data);
  } catch (error) {
    postMessage({ id: data.id, error: error.message || String(error) });
  }
};

/** Fetch the network, and take the first engine that gives Python's labels on the street of check.bin. */
async function start({ model: facts, engines }) {
  model = facts;
  network = await fetched("model.onnx");
  const check = await fetched("check.bin");
  const reasons = [];
  for (const name of engines) {
    try {
      await open(name);
      const equal = await equalLabels(check);
      if (equal < FEWEST_EQUAL) {
        throw new Error(`${(100 * equal).toFixed(2)} % of its labels are those of Python, ${100 * FEWEST_EQUAL} % expected`);
      }
      postMessage({ ready: name, threads: ort.env.wasm.numThreads, equal, reasons });
      return;
    } catch (error) {
      reasons.push(`${name}: ${error.message || error}`);
    }
  }
  throw new Error(`No engine runs the network here. ${reasons.join(". ")}`);
}

async function fetched(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} is missing (${response.status}): make the page anew, by make demo-page.`);
  return response.arrayBuffer();
}

async function open(name) {
  if (name === "WebGPU") {
    if (!navigator.gpu) throw new Error("this browser has none");
    if (!(await navigator.gpu.requestAdapter())) throw new Error("no graphics adapter");
  }
  ort = await import(name === "WebGPU" ? "./vendor/ort.webgpu.min.mjs" : "./vendor/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = new URL("vendor/", import.meta.url).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "error";
  session = await ort.InferenceSession.create(new Uint8Array(network.slice(0)), {
    executionProviders: [name === "WebGPU" ? "webgpu" : "wasm"],
  });
  engine = name;
}

/** The share of the check's pixels that this engine labels as Python did. */
async function equalLabels(check) {
  const [height, width] = model.check;
  const pixels = new Uint8Array(check, 0, 3 * height * width);
  const expected = new Uint8Array(check, 3 * height * width);
  const labels = labelsOf(await logits(pixels, model.check), model.classes.length, model.check, model.check);
  let equal = 0;
  for (let i = 0; i < labels.length; i++) equal += labels[i] === expected[i];
  return equal / labels.length;
}

async function logits(pixels, [height, width]) {
  const result = await session.run({ images: new ort.Tensor("uint8", pixels, [1, 3, height, width]) });
  return result.logits.data;
}

/** The labels of one image: { id, rgba, height, width } in; the times are in milliseconds. */
async function label({ id, rgba, height, width }) {
  const size = [height, width];
  const readAt = readingSize(height, width, model);
  if (readAt[0] < model.smallest[0] || readAt[1] < model.smallest[1]) {
    throw new Error(
      `An image of ${width} x ${height} pixels is too ${height < width ? "low" : "narrow"} for this network: it would ` +
        `be read at ${readAt[1]} x ${readAt[0]}, and ${model.smallest[1]} x ${model.smallest[0]} are the least.`,
    );
  }
  const times = [performance.now()];
  const pixels = planes(new Uint8ClampedArray(rgba), size, readAt);
  times.push(performance.now());
  let scores;
  try {
    scores = await logits(pixels, readAt);
  } catch (error) {
    if (engine !== "WebGPU") throw error;
    await open("WASM"); // the graphics device was lost, or its memory is full
    postMessage({ ready: engine, threads: ort.env.wasm.numThreads, reasons: [`WebGPU: ${error.message || error}`] });
    scores = await logits(pixels, readAt);
  }
  times.push(performance.now());
  const labels = labelsOf(scores, model.classes.length, readAt, size);
  times.push(performance.now());
  const found = counts(labels, model.classes.length);
  const [read, run, resized] = [1, 2, 3].map((i) => times[i] - times[i - 1]);
  postMessage({ id, labels, height, width, counts: found, readAt, engine, read, run, resized }, [labels.buffer]);
}
