// What the exported page and `keras-faces serve` have in common.

const at = (id) => document.getElementById(id);

// An element with properties, attributes (those that begin with "aria-" or "data-") and children.
function make(kind, properties = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(aria|data)-/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

// Of calls that come while an earlier one is at work, only the last is done. A call returns when
// nothing is left to be done.
function latest(work) {
  let running = null;
  let wanted = false;
  const run = async () => {
    while (wanted) {
      wanted = false;
      try {
        await work();
      } catch (error) {
        failed(error);
      }
    }
    running = null;
  };
  return () => {
    wanted = true;
    running ??= run();
    return running;
  };
}

function failed(error) {
  if (error.name === "AbortError") return; // nobody waits for it any more
  console.error(error);
  complain(`Something went wrong: ${error.message || error}`);
}

function complain(text) {
  at("status").className = "failed";
  at("status").textContent = text;
}

function readable(name) {
  return name.replaceAll("_", " ");
}

// A slider between two small canvases, which show faces at its ends. What it stands at is told
// with `unit` behind it.
function makeSlider(id, title, { reach, step = 0.05, unit = "" }) {
  const slider = make("input", { type: "range", id, step: String(step) });
  Object.assign(slider, { min: String(-reach), max: String(reach), value: "0" });
  slider.dataset.unit = unit;
  const label = make("label", { htmlFor: id }, make("span", { textContent: title }), make("span"));
  const [low, high] = ["low", "high"].map((side) =>
    make("canvas", { id: `${id}-${side}`, "aria-hidden": "true" }),
  );
  slider.addEventListener("input", () => setSlider(slider, slider.value));
  const row = make("div", { className: "slider" }, low, label, slider, high);
  setSlider(slider, 0);
  return { row, slider };
}

function setSlider(slider, value) {
  slider.value = String(value);
  const told = `${Number(slider.value).toFixed(2)}${slider.dataset.unit}`;
  slider.previousElementSibling.lastElementChild.textContent = told;
  slider.setAttribute("aria-valuetext", told);
}

// What holds of a face: boxes, or a list of which one holds. `changed` gets 0 or 1 for each name.
function conditionChooser(names, one, chosen, changed) {
  if (one) {
    const select = make("select");
    names.forEach((name, i) => select.add(new Option(readable(name), i, false, chosen[i] > 0)));
    select.addEventListener("change", () =>
      changed(names.map((_, i) => (i === Number(select.value) ? 1 : 0))),
    );
    return make("label", {}, "One of them ", select);
  }
  const boxes = names.map((_, i) => make("input", { type: "checkbox", checked: chosen[i] > 0 }));
  for (const box of boxes) {
    box.addEventListener("change", () => changed(boxes.map(({ checked }) => (checked ? 1 : 0))));
  }
  const labels = names.map((name, i) => make("label", {}, boxes[i], readable(name)));
  return make("div", { className: "choices" }, ...labels);
}

function percentage(share) {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

// A sheet of paper: a canvas on which one draws, behind which the tools are put. `changed` is called
// after every stroke.
function drawingSheet(sheet, changed) {
  const slider = (id, name, min, max, value) => {
    const input = make("input", { id, type: "range", min, max, step: 1, value });
    const label = make("label", { htmlFor: id, textContent: name });
    return [input, make("span", { className: "pair" }, label, input)];
  };
  const [width, pens] = slider("width", "Pen", 2, 40, 8);
  const [dark, levels] = slider("dark", "Darkness", 20, 100, 60);
  const undo = make("button", { id: "undo", textContent: "Undo" });
  const clear = make("button", { id: "clear", textContent: "Clear" });
  const hint =
    "The model knows sketches like those it was trained on. A pencil filter's sketches are shaded; " +
    "outlines alone tell such a model little.";
  sheet.after(
    make("p", { className: "row" }, pens, levels, undo, clear),
    make("p", { className: "quiet", textContent: hint }),
  );
  const pen = sheet.getContext("2d", { willReadFrequently: true });
  const before = [];
  const keep = () => {
    before.push(pen.getImageData(0, 0, sheet.width, sheet.height));
    if (before.length > 20) before.shift();
  };
  const blank = () => {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, sheet.width, sheet.height);
  };
  let point = null;
  const here = (event) => {
    const box = sheet.getBoundingClientRect();
    const scale = sheet.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const line = (to) => {
    const level = Math.round(255 * (1 - dark.value / 100));
    pen.strokeStyle = `rgb(${level} ${level} ${level})`;
    pen.lineWidth = Number(width.value);
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...point);
    pen.lineTo(...to);
    pen.stroke();
    point = to;
    changed();
  };
  sheet.addEventListener("pointerdown", (event) => {
    keep();
    sheet.setPointerCapture(event.pointerId);
    point = here(event);
    line(point);
  });
  sheet.addEventListener("pointermove", (event) => point && line(here(event)));
  for (const end of ["pointerup", "pointercancel"]) {
    sheet.addEventListener(end, () => (point = null));
  }
  undo.addEventListener("click", () => {
    if (before.length) pen.putImageData(before.pop(), 0, 0);
    changed();
  });
  clear.addEventListener("click", () => {
    keep();
    blank();
    changed();
  });
  blank();
  return {
    // Put the middle square of a picture on the sheet.
    put(picture) {
      const side = Math.min(picture.width, picture.height);
      const from = [(picture.width - side) / 2, (picture.height - side) / 2, side, side];
      keep();
      blank(); // behind what is transparent
      pen.imageSmoothingQuality = "high";
      pen.drawImage(picture, ...from, 0, 0, sheet.width, sheet.height);
      changed();
    },
  };
}

function saveBlob(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Save a canvas as PNG in which each of its pixels is a square of so many.
function savePicture(canvas, name, scale = 1) {
  const large = make("canvas", { width: scale * canvas.width, height: scale * canvas.height });
  const pen = large.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(canvas, 0, 0, large.width, large.height);
  large.toBlob((blob) => saveBlob(blob, `${name}.png`));
}
