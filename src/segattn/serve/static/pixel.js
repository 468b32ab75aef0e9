const answer = element.querySelector(".sa-answer"), panels = element.querySelector(".sa-panels");
const error = element.querySelector(".sa-error"), heading = element.querySelector("h2");

const address = (path) => "gradio_api/file=" + path.split("/").map(encodeURIComponent).join("/");

const percent = (share) => share >= 0.001 ? (100 * share).toFixed(1) + "%" : "<0.1%";

function make(tag, options, ...children) {
  const node = Object.assign(document.createElement(tag), options);
  node.append(...children);
  return node;
}

function barOf({ name, colour, share }) {
  const fill = make("i", {});
  fill.style.width = 100 * share + "%";
  fill.style.background = "rgb(" + colour.join(" ") + ")";
  return make("li", {},
    make("span", {}, make("b", { textContent: name }), percent(share)),
    make("div", { className: "sa-bar" }, fill));
}

function figureOf({ title, text, path }) {
  const image = make("img", { src: address(path), alt: title + ". " + text });
  return make("section", { className: "sa-look" }, make("h3", { textContent: title }),
    make("p", { className: "sa-quiet", textContent: text }), image);
}

function render() {
  const value = props.value || {};
  error.textContent = value.error || "";
  error.hidden = !value.error;
  answer.hidden = !value.results;
  panels.replaceChildren();
  document.dispatchEvent(new Event("segattn-answered"));
  if (!value.results) return;
  heading.textContent = "Pixel y " + value.at[0] + ", x " + value.at[1];
  for (const result of value.results) {
    const waiting = value.drawn ? [] : [make("p", { className: "sa-quiet", textContent: "drawing what it looked at …" })];
    panels.append(make("figure", { className: "sa-panel" },
      make("figcaption", {}, make("strong", { textContent: result.name }),
        make("span", { className: "sa-quiet", textContent: "the best classes' probabilities" })),
      make("ul", { className: "sa-bars" }, ...result.scores.map(barOf)),
      ...waiting, ...result.figures.map(figureOf)));
  }
}

watch("value", render);
render();
