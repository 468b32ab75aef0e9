// The page: reads photos and webcam frames, has the worker label them, shows and saves what comes back.

import { palettePng } from "./png.js";

const MOST_BYTES = 64e6;
const MOST_PIXELS = 50e6;
const MOST_SHOWN = 1600; // pixels of the picture's long side on the page

const at = (id) => document.getElementById(id);
const photo = at("photo"), over = at("over");

let model, worker; // what model.json says, and what runs the network
let shown = null; // { source, name, labels, height, width }: the picture that is labelled
let highlighted = -1; // the class that is pointed at
let hidden = []; // for each class whether it was clicked away
let stream = null; // of the webcam, while it runs
let latest = 0; // the number of the request whose answer is wanted
const waiting = new Map();

function say(text) {
  at("engine").textContent = text;
}

function fail(text) {
  at("error").textContent = text;
  at("error").hidden = false;
}

function clearError() {
  at("error").hidden = true;
}

// ---- start

async function start() {
  if (typeof WebAssembly === "undefined" || typeof CompressionStream === "undefined") {
    return stop("This browser can't run the network: it has no WebAssembly, or is older than 2023. Take a current one.");
  }
  if (!readsBack()) {
    return stop("This browser changes the pixels that pages read from a canvas (protection against fingerprinting), and " +
      "labels would be wrong. Allow this page to read canvases, then load it again.");
  }
  say("Loading the network ...");
  const response = await fetch("model.json").catch(() => null);
  if (!response || !response.ok) {
    return stop("The network is missing: model.json is not beside this page. Make the page by make demo-page, and serve its folder.");
  }
  model = await response.json();
  hidden = model.classes.map(() => false);
  makeLegend();
  at("about").textContent = `${model.about} · weights: ${model.licence} · segattn ${model.version} · runtime: ONNX Runtime Web, MIT`;
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => stop(`The network can't be started: ${event.message || "worker.js can't be loaded"}.`);
  const wanted = new URLSearchParams(location.search).get("engine");
  const engines = ["WebGPU", "WASM"].filter((name) => !wanted || name.toLowerCase() === wanted.toLowerCase());
  worker.postMessage({ id: 0, model, engines: engines.length ? engines : ["WASM"] });
}

function stop(text) {
  fail(text);
  say("Not running.");
  at("file").disabled = at("camera").disabled = at("example").disabled = true;
  worker = undefined;
}

/** Whether a canvas gives back the pixels that were put on it. */
function readsBack() {
  const context = document.createElement("canvas").getContext("2d");
  const pattern = context.createImageData(16, 16);
  pattern.data.forEach((_, i) => (pattern.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256));
  context.putImageData(pattern, 0, 0);
  return context.getImageData(0, 0, 16, 16).data.every((value, i) => value === pattern.data[i]);
}

function receive(data) {
  if (data.ready) {
    const how = data.ready === "WebGPU" ? "WebGPU (the graphics processor)" : `WASM (the processor, ${data.threads} thread${data.threads > 1 ? "s" : ""})`;
    say(`Runs by ${how}.${data.reasons.map((reason) => ` No ${reason}.`).join("")}`);
    document.body.dataset.engine = data.ready;
    at("camera").disabled = at("example").disabled = false;
    return;
  }
  const answer = waiting.get(data.id);
  waiting.delete(data.id);
  if (answer) answer(data);
  else if (data.error) stop(data.error);
}

/** The worker's answer to request `id`, about the pixels of a canvas's context. */
function ask(id, context, width, height) {
  const { data } = context.getImageData(0, 0, width, height, { colorSpace: "srgb" });
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, rgba: data.buffer, width, height }, [data.buffer]);
  });
}

// ---- photos

async function open(file) {
  if (!worker) return;
  endCamera();
  clearError();
  const turn = ++latest;
  const name = file.name || "picture";
  if (file.size === 0) return fail(`${name}: the file is empty.`);
  if (file.size > MOST_BYTES) {
    return fail(`${name}: ${Math.ceil(file.size / 1e6)} MB, more than the ${MOST_BYTES / 1e6} MB that are read here. ` +
      "Save it smaller, or use segattn predict.");
  }
  const size = await sizeOf(file);
  if (turn !== latest) return; // another picture was chosen meanwhile
  if (!size) return fail(`${name}: is no image that this browser can read. Take a JPEG, PNG or WebP.`);
  if (size.width * size.height > MOST_PIXELS) {
    return fail(`${name}: ${size.width} x ${size.height} pixels, more than the ${MOST_PIXELS / 1e6} million that are read here. ` +
      "Make it smaller, or use segattn predict.");
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    return fail(`${name}: is damaged, or of a kind that this browser can't read. Take a JPEG, PNG or WebP.`);
  }
  if (turn !== latest) return;
  at("times").textContent = "labelling ...";
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const answer = await ask(turn, context, bitmap.width, bitmap.height);
  if (turn !== latest) return;
  at("times").textContent = "";
  if (answer.error) return fail(`${name}: ${answer.error}`);
  show(canvas, name.replace(/\.[^.]*$/, ""), answer);
  sortLegend(answer.counts);
  const { readAt, read, run, resized } = answer;
  const times = `${run.toFixed(0)} ms ${answer.engine}, ${(read + resized).toFixed(0)} ms around it`;
  const reading = readAt[0] === answer.height && readAt[1] === answer.width ? "" : `, read at ${readAt[1]} x ${readAt[0]}`;
  at("times").textContent = `${answer.width} x ${answer.height}${reading}: ${times}`;
}

/** The width and height that an image's file states, upright, or null where it is none. */
function sizeOf(file) {
  return new Promise((resolve) => {
    const image = new Image(), url = URL.createObjectURL(file);
    image.onload = () => resolve(image.naturalWidth ? { width: image.naturalWidth, height: image.naturalHeight } : null);
    image.onerror = () => resolve(null);
    image.src = url;
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  });
}

// ---- the picture

function show(source, name, { labels, height, width, counts }) {
  shown = { source, name, labels, height, width };
  const factor = Math.min(1, MOST_SHOWN / Math.max(height, width));
  const size = [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
  for (const canvas of [photo, over]) {
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  }
  at("picture").style.setProperty("--ratio", size[0] / size[1]);
  photo.getContext("2d").drawImage(source, 0, 0, ...size);
  at("empty").hidden = true;
  at("picture").hidden = false;
  at("labels").disabled = at("overlay").disabled = false;
  describe(counts, labels.length);
  paint();
}

/** The colours of an overlay of some size, as RGBA: of the class `alone`, or of all that are not hidden where it is -1. */
function colours(width, height, alone) {
  const table = new Uint32Array(256);
  model.classes.forEach(({ colour: [red, green, blue], tinted }, index) => {
    const seen = alone >= 0 ? index === alone : tinted && !hidden[index];
    new Uint8Array(table.buffer).set([red, green, blue, seen ? 255 : 0], 4 * index);
  });
  const pixels = new Uint32Array(width * height);
  const across = Int32Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * shown.width) / width));
  for (let y = 0, i = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * shown.height) / height) * shown.width;
    for (let x = 0; x < width; x++) pixels[i++] = table[shown.labels[row + across[x]]];
  }
  return new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
}

function paint() {
  if (shown) over.getContext("2d").putImageData(colours(over.width, over.height, highlighted), 0, 0);
}

at("opacity").oninput = ({ target }) => {
  over.style.opacity = target.value / 100;
  at("percent").textContent = `${target.value} %`;
};

at("picture").onpointermove = (event) => {
  if (!shown) return;
  const box = photo.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * shown.width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * shown.height);
  const inside = x >= 0 && y >= 0 && x < shown.width && y < shown.height;
  at("here").textContent = inside ? `${model.classes[shown.labels[y * shown.width + x]].name} at x ${x}, y ${y}` : "";
};
at("picture").onpointerleave = () => (at("here").textContent = "");

// ---- the legend

function makeLegend() {
  at("legend").replaceChildren(...model.classes.map(({ name, colour }, index) => {
    const item = document.createElement("li"), button = document.createElement("button");
    const swatch = document.createElement("i"), word = document.createElement("span"), share = document.createElement("b");
    button.type = "button";
    button.dataset.index = index;
    button.ariaPressed = "true";
    swatch.style.backgroundColor = `rgb(${colour})`;
    word.textContent = name;
    button.append(swatch, word, share);
    button.onpointerenter = (event) => event.pointerType === "mouse" && highlight(index);
    button.onpointerleave = () => highlight(-1);
    button.onfocus = () => button.matches(":focus-visible") && highlight(index);
    button.onblur = () => highlight(-1);
    button.onclick = () => {
      hidden[index] = !hidden[index];
      button.ariaPressed = String(!hidden[index]);
      highlight(-1); // else what was hidden would stay to be seen under the pointer
    };
    item.append(button);
    return item;
  }));
}

function highlight(index) {
  highlighted = index;
  paint();
}

function describe(counts, total) {
  for (const button of at("legend").querySelectorAll("button")) {
    const count = counts[button.dataset.index];
    button.querySelector("b").textContent = `${((100 * count) / total).toFixed(1)} %`;
    button.classList.toggle("absent", count === 0);
  }
}

function sortLegend(counts) {
  const items = [...at("legend").children];
  const count = (item) => counts[item.firstChild.dataset.index];
  at("legend").append(...items.sort((a, b) => count(b) - count(a)));
}

// ---- the webcam

async function startCamera() {
  clearError();
  if (!navigator.mediaDevices) {
    return fail("The webcam is for pages of this machine or over HTTPS only: open the page as http://localhost:PORT/.");
  }
  at("camera").disabled = true; // while the browser asks
  let opened;
  try {
    opened = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "environment" } });
  } catch (error) {
    const why = { NotAllowedError: "this page was not allowed to use it", NotFoundError: "there is none", NotReadableError: "another program uses it" };
    return fail(`The webcam can't be used: ${why[error.name] || error.message}.`);
  } finally {
    at("camera").disabled = false;
  }
  const video = document.createElement("video");
  video.muted = video.playsInline = true;
  video.srcObject = stream = opened;
  stream.getTracks()[0].onended = endCamera;
  at("camera").ariaPressed = "true";
  at("camera").textContent = "Stop the webcam";
  await video.play();
  await label(video, opened);
}

/** Labels frame after frame, always the newest, until the webcam is stopped. */
async function label(video, ofStream) {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const times = [];
  while (stream === ofStream) {
    await new Promise(requestAnimationFrame);
    context.drawImage(video, 0, 0);
    const answer = await ask(++latest, context, canvas.width, canvas.height);
    if (stream !== ofStream) return;
    if (answer.error) {
      endCamera();
      return fail(answer.error);
    }
    times.push(performance.now());
    if (times.length > 20) times.shift();
    show(canvas, "webcam", answer);
    const rate = times.length > 1 ? `${((1000 * (times.length - 1)) / (times.at(-1) - times[0])).toFixed(1)} frames/s, ` : "";
    at("times").textContent = `${canvas.width} x ${canvas.height}: ${rate}${answer.run.toFixed(0)} ms ${answer.engine}`;
  }
}

function endCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  at("camera").ariaPressed = "false";
  at("camera").textContent = "Webcam";
}

// ---- saving

async function save(blob, name) {
  const link = document.createElement("a"), url = URL.createObjectURL(blob);
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

at("labels").onclick = async () => {
  const { labels, height, width, name } = shown;
  save(await palettePng(labels, height, width, model.classes.map(({ colour }) => colour)), `${name}_labels.png`);
};

at("overlay").onclick = async () => {
  const { source, height, width, name } = shown;
  const colour = new OffscreenCanvas(width, height), both = new OffscreenCanvas(width, height);
  colour.getContext("2d").putImageData(colours(width, height, -1), 0, 0);
  const context = both.getContext("2d");
  context.drawImage(source, 0, 0);
  context.globalAlpha = at("opacity").value / 100;
  context.drawImage(colour, 0, 0);
  save(await both.convertToBlob({ type: "image/png" }), `${name}_overlay.png`);
};

// ---- what people do

at("file").onchange = ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
};
at("camera").onclick = () => (stream ? endCamera() : startCamera());
at("example").onclick = async () => {
  const response = await fetch("example.png").catch(() => null);
  if (!response || !response.ok) return fail("example.png is missing: make the page anew, by make demo-page.");
  open(new File([await response.blob()], "street.png"));
};
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("stage").classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget || at("stage").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("stage").classList.remove("over");
  if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  else fail("That was no file. Drop a photo from a folder.");
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) open(file);
});

start();
