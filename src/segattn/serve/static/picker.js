const input = element.querySelector("input"), state = element.querySelector(".sa-state");
const error = element.querySelector(".sa-error"), zone = element.querySelector(".sa-drop");

element.querySelector("[data-limits]").textContent =
  "At most " + props.megabytes + " MB and " + props.megapixels + " megapixels.";

function refuse(text) {
  error.textContent = text;
  error.hidden = !text;
  state.textContent = "";
}

async function take(file) {
  refuse("");
  if (!file) return refuse("That was no file; drop or paste an image.");
  if (file.size > props.most_bytes) {
    return refuse(file.name + ": " + (file.size / 1e6).toFixed(1) + " MB, more than the " + props.megabytes +
      " MB that are taken here; save it smaller, or as JPEG.");
  }
  state.textContent = "Sending " + file.name + " …";
  try {
    const { path } = await upload(file);
    state.textContent = file.name;
    trigger("pick", { path, name: file.name });
  } catch (problem) {
    refuse(file.name + ": could not be sent. Is segattn app still running?");
  }
}

element.querySelector("[data-do=choose]").onclick = () => input.click();
element.querySelector("[data-do=sample]").onclick = () => {
  refuse("");
  trigger("sample");
};
input.onchange = () => {
  if (input.files.length) take(input.files[0]);
  input.value = "";
};

const holdsFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
document.addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  zone.classList.add("sa-over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) zone.classList.remove("sa-over");
});
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  zone.classList.remove("sa-over");
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const files = event.clipboardData ? event.clipboardData.files : [];
  if (files.length) {
    event.preventDefault();
    take(files[0]);
  }
});
