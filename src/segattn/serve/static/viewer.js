const scene = element.querySelector(".sa-scene"), panels = element.querySelector(".sa-panels");
const error = element.querySelector(".sa-error"), slider = element.querySelector("input[type=range]");
const where = element.querySelector(".sa-where"), down = element.querySelector("[data-do=down]");
let shown = [], hidden = new Set(), lit = null, at = null, size = [1, 1];

const address = (path) => "gradio_api/file=" + path.split("/").map(encodeURIComponent).join("/");
const percent = (share) => share >= 0.001 ? (100 * share).toFixed(1) + "%" : "<0.1%";
const pixels = (height, width) => width + "×" + height;

function make(tag, options, ...children) {
  const { data, ...plain } = options;
  const node = Object.assign(document.createElement(tag), plain);
  Object.assign(node.dataset, data);
  node.append(...children);
  return node;
}

function swatch(colour) {
  const node = make("i", { className: "sa-swatch" });
  node.style.background = "rgb(" + colour.join(" ") + ")";
  return node;
}

async function idsOf(path) {
  const picture = new Image();
  picture.src = address(path);
  await picture.decode();
  const canvas = make("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const ids = new Uint8Array(data.length / 4);
  for (let i = 0; i < ids.length; i++) ids[i] = data[4 * i];
  return ids;
}

function paint(panel) {
  const { canvas, ids, result } = panel;
  if (!ids) return;
  const table = new Uint8ClampedArray(1024);
  for (const each of result.classes) {
    const alpha = lit === each.name ? 255 : hidden.has(each.name) ? 0 : lit === null ? 255 : 40;
    table.set([...each.colour, alpha], 4 * each.id);
  }
  const colours = new Uint32Array(table.buffer);
  const image = new ImageData(canvas.width, canvas.height);
  const out = new Uint32Array(image.data.buffer);
  for (let i = 0; i < ids.length; i++) out[i] = colours[ids[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function refresh() {
  shown.forEach(paint);
  element.querySelectorAll(".sa-class").forEach((button) => {
    button.setAttribute("aria-pressed", String(!hidden.has(button.dataset.name)));
    button.classList.toggle("sa-lit", button.dataset.name === lit);
  });
}

function light(name) {
  if (lit === name) return;
  lit = name;
  refresh();
}

function labelAt(panel) {
  if (!panel.ids || !at) return "";
  const { canvas, ids, result } = panel;
  const row = Math.min(canvas.height - 1, Math.floor((at[0] + 0.5) * canvas.height / size[0]));
  const column = Math.min(canvas.width - 1, Math.floor((at[1] + 0.5) * canvas.width / size[1]));
  const found = result.classes.find((each) => each.id === ids[row * canvas.width + column]);
  return found ? found.name : "";
}

function move(y, x) {
  at = [Math.min(size[0] - 1, Math.max(0, y)), Math.min(size[1] - 1, Math.max(0, x))];
  for (const { mark } of shown) {
    mark.hidden = false;
    mark.style.top = 100 * (at[0] + 0.5) / size[0] + "%";
    mark.style.left = 100 * (at[1] + 0.5) / size[1] + "%";
  }
  where.textContent = "y " + at[0] + ", x " + at[1] + ": " + shown.map(labelAt).join(" | ");
}

function ask() {
  down.hidden = false;
  down.textContent = "Asking …";
  trigger("ask", { at });
}

function stageOf(value, result) {
  const [height, width] = value.shown;
  const canvas = make("canvas", { width, height });
  const mark = make("b", { className: "sa-mark", hidden: true });
  const image = make("img", { src: address(value.image), alt: value.name, draggable: false });
  const stage = make("div", { className: "sa-stage", tabIndex: 0 }, image, canvas, mark);
  stage.style.maxWidth = "max(min(280px, 100%), 75vh * " + width / height + ")";
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-label",
    value.name + " as " + result.name + " labels it; arrow keys move the pixel, Enter asks about it");
  stage.onclick = (event) => {
    const box = image.getBoundingClientRect();
    move(Math.floor((event.clientY - box.top) / box.height * size[0]),
      Math.floor((event.clientX - box.left) / box.width * size[1]));
    ask();
  };
  stage.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    const [y, x] = at || [size[0] >> 1, size[1] >> 1];
    const far = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(...size) / 64));
    move(y + far * (step ? step[0] : 0), x + far * (step ? step[1] : 0));
    if (!step) ask();
  };
  return { stage, canvas, mark };
}

function legendOf(result) {
  const list = make("ul", { className: "sa-legend" });
  const absent = [];
  for (const each of result.classes) {
    if (!each.share) {
      absent.push(each.name);
      continue;
    }
    const button = make("button", { type: "button", className: "sa-class", data: { name: each.name } },
      swatch(each.colour), make("span", { textContent: each.name }), make("b", { textContent: percent(each.share) }));
    button.onmouseenter = button.onfocus = () => light(each.name);
    button.onmouseleave = button.onblur = () => light(null);
    button.onclick = () => {
      if (!hidden.delete(each.name)) hidden.add(each.name);
      lit = null;
      refresh();
    };
    list.append(make("li", {}, button));
  }
  const rest = make("p", { className: "sa-quiet", textContent: "not in the image: " + absent.join(", ") });
  return absent.length && absent.length <= 30 ? [list, rest] : [list];
}

function panelOf(value, result) {
  const { stage, canvas, mark } = stageOf(value, result);
  const read = result.read_at.join() === value.size.join() ? "" : ", read at " + pixels(...result.read_at);
  const facts = pixels(...value.size) + " pixels" + read + ", " + result.seconds.toFixed(2) + " s";
  const files = result.files.map(({ what, path, name }) =>
    make("a", { href: address(path), download: name, textContent: what + (what === "shares" ? " (JSON)" : " (PNG)") }));
  panels.append(make("figure", { className: "sa-panel", data: { model: result.name } },
    make("figcaption", {}, make("strong", { textContent: result.name }),
      make("span", { className: "sa-quiet", textContent: facts })),
    make("p", { className: "sa-quiet sa-about", textContent: result.about }),
    stage, ...legendOf(result),
    make("p", { className: "sa-files" }, "Download: ", ...files)));
  const panel = { canvas, mark, result, ids: null };
  idsOf(result.ids).then((ids) => {
    panel.ids = ids;
    paint(panel);
    canvas.dataset.painted = "yes";
    if (at) move(...at);
  });
  return panel;
}

function render() {
  const value = props.value || {};
  error.textContent = value.error || "";
  error.hidden = !value.error;
  scene.hidden = !value.results;
  panels.replaceChildren();
  shown = [];
  lit = at = null;
  down.hidden = true;
  where.textContent = "";
  if (!value.results) return;
  size = value.size;
  hidden = new Set(value.results.flatMap(({ classes }) => classes.filter((c) => !c.tinted).map((c) => c.name)));
  shown = value.results.map((result) => panelOf(value, result));
  refresh();
  fade();
}

function fade() {
  element.querySelector(".sa-tools label output").textContent = slider.value + "%";
  for (const { canvas } of shown) canvas.style.opacity = slider.value / 100;
}

document.addEventListener("segattn-answered", () => {
  down.textContent = "Scores and attention";
});
down.onclick = () => document.getElementById("pixel").scrollIntoView({ behavior: "smooth" });
slider.oninput = fade;
element.querySelector("[data-do=all]").onclick = () => {
  hidden = new Set();
  refresh();
};
watch("value", render);
render();
