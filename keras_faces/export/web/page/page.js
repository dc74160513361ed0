// What is seen: the controls of a model with latents, or those of one that makes faces of drawings.

const REACH = 3; // standard deviations to each side of a slider
const STRIP = 8; // faces of the strip

const at = (id) => document.getElementById(id);

// Where one's own scripts find what is shown.
const page = { model: null, latents: null, conditions: [], ready: false };

// Of calls that come while an earlier one is at work, only the last is done.
function latest(work) {
  let running = false;
  let wanted = false;
  return async () => {
    wanted = true;
    if (running) return;
    running = true;
    try {
      while (wanted) {
        wanted = false;
        await work();
      }
    } catch (error) {
      failed(error);
    } finally {
      running = false;
    }
  };
}

function failed(error) {
  console.error(error);
  complain(`It did not work: ${error.message || error}`);
}

function complain(text) {
  at("status").className = "failed";
  at("status").textContent = text;
}

function loaded() {
  if (at("status").className !== "failed") at("status").textContent = "";
}

// What a browser must know to run the model.
function missing() {
  if (typeof KERAS_FACES_MODEL === "undefined" || typeof KERAS_FACES_RUNTIME === "undefined") {
    return "Files are missing. The page needs all files of its folder beside it.";
  }
  if (typeof DecompressionStream === "undefined" || typeof OffscreenCanvas === "undefined") {
    return "This browser is too old. Any of 2023 or later will do.";
  }
  return null;
}

async function start() {
  const reason = missing();
  if (reason) throw new Error(reason);
  const { about } = KERAS_FACES_MODEL;
  const colours = about.channels === 1 ? "grey" : "colour";
  document.title = at("title").textContent = `Faces by ${about.model}`;
  at("about").textContent =
    `${about.size}×${about.size}, ${colours}. The model runs in this page: ` +
    "no server, and nothing is sent anywhere.";
  page.model = await KerasFaces.open();
  for (const button of document.querySelectorAll(".save")) {
    button.addEventListener("click", () => save(at(button.dataset.canvas)));
  }
  await ("latents" in about ? startLatents() : startDrawing());
  page.ready = true;
}

function save(canvas) {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${page.model.about.model}-${canvas.id}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
}

// A model with latents.

async function startLatents() {
  const { model } = page;
  const { about } = model;
  let base = Float32Array.from(about.mean);

  // Uniform latents end at -1 and 1.
  const within = (latents) =>
    about.uniform ? latents.map((v) => Math.min(1, Math.max(-1, v))) : latents;
  const moved = (from, amounts) => {
    const latents = Float32Array.from(from);
    about.directions.forEach((direction, i) => {
      direction.forEach((step, j) => (latents[j] += amounts[i] * step));
    });
    return within(latents);
  };

  const sliders = about.directions.map((_, i) => makeSlider(i, about.shares[i]));
  const show = latest(async () => {
    const latents = moved(base, sliders.map((slider) => Number(slider.value)));
    const conditions = page.conditions.slice();
    model.paint(at("face"), await model.decode(latents, conditions));
    page.latents = latents;
  });
  const showStrip = latest(async () => {
    const ends = [];
    for (const id of ["from", "to"]) ends.push(await model.draw(model.noise(seedOf(at(id)))));
    const latents = new Float32Array(STRIP * about.latents);
    for (let k = 0; k < STRIP; k++) {
      const share = k / (STRIP - 1);
      const between = ends[0].map((v, j) => (1 - share) * v + share * ends[1][j]);
      latents.set(between, k * about.latents);
    }
    const faces = await model.decode(latents, page.conditions);
    const strip = at("strip");
    strip.width = STRIP * about.size;
    strip.height = about.size;
    for (let k = 0; k < STRIP; k++) {
      strip.getContext("2d").putImageData(model.picture(faces, k), k * about.size, 0);
    }
  });
  const showEnds = latest(async () => {
    const conditions = page.conditions.slice();
    for (let i = 0; i < sliders.length; i++) {
      for (const side of [-1, 1]) {
        const amounts = about.directions.map((_, j) => (j === i ? side * REACH : 0));
        const face = await model.decode(moved(about.mean, amounts), conditions);
        model.paint(at(`slider-${i}-${side < 0 ? "low" : "high"}`), face);
      }
    }
  });

  const seeded = latest(async () => {
    base = await model.draw(model.noise(seedOf(at("seed"))));
    await show();
  });
  const toTheMiddle = () => sliders.forEach((slider) => setSlider(slider, 0));
  makeConditions(() => Promise.all([show(), showStrip(), showEnds()]));
  sliders.forEach((slider) => slider.addEventListener("input", show));
  at("seed").addEventListener("input", seeded);
  at("new").addEventListener("click", () => {
    at("seed").value = Math.floor(Math.random() * 1_000_000);
    toTheMiddle();
    seeded();
  });
  at("average").addEventListener("click", () => {
    base = Float32Array.from(about.mean);
    toTheMiddle();
    show();
  });
  at("reset").addEventListener("click", () => {
    toTheMiddle();
    show();
  });
  for (const id of ["from", "to"]) at(id).addEventListener("input", showStrip);

  at("latents").hidden = false;
  await seeded();
  loaded(); // the rest, 24 faces, may take a while
  await showStrip();
  await showEnds();
}

function seedOf(input) {
  return Math.abs(Math.trunc(Number(input.value))) || 0;
}

function makeSlider(number, share) {
  const row = document.createElement("div");
  row.className = "slider";
  const [low, high] = ["low", "high"].map((side) => {
    const canvas = document.createElement("canvas");
    canvas.id = `slider-${number}-${side}`;
    canvas.setAttribute("aria-hidden", "true");
    return canvas;
  });
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", id: `slider-${number}`, step: "0.05" });
  Object.assign(slider, { min: String(-REACH), max: String(REACH), value: "0" });
  const label = document.createElement("label");
  label.htmlFor = slider.id;
  const name = document.createElement("span");
  const percent = 100 * share;
  name.textContent = `Direction ${number + 1} (${percent.toFixed(percent < 10 ? 1 : 0)} %)`;
  const value = document.createElement("span");
  label.append(name, value);
  slider.addEventListener("input", () => setSlider(slider, slider.value));
  row.append(low, label, slider, high);
  at("sliders").append(row);
  setSlider(slider, 0);
  return slider;
}

function setSlider(slider, value) {
  slider.value = String(value);
  const told = `${Number(slider.value).toFixed(2)} sd`;
  slider.previousElementSibling.lastElementChild.textContent = told;
  slider.setAttribute("aria-valuetext", told);
}

function makeConditions(changed) {
  const { conditions, one_condition: one } = page.model.about;
  page.conditions = conditions.map((_, i) => (one && i === 0 ? 1 : 0));
  if (!conditions.length) return;
  const box = at("conditions");
  box.hidden = false;
  const choose = (chosen) => {
    page.conditions = chosen;
    changed();
  };
  if (one) {
    const label = document.createElement("label");
    label.textContent = "One of them ";
    const select = document.createElement("select");
    select.id = "condition";
    conditions.forEach((name, i) => select.add(new Option(name, i)));
    select.addEventListener("change", () =>
      choose(conditions.map((_, i) => (i === Number(select.value) ? 1 : 0))),
    );
    label.append(select);
    box.append(label);
    return;
  }
  const list = document.createElement("div");
  list.className = "choices";
  const boxes = conditions.map((name) => {
    const label = document.createElement("label");
    const tick = document.createElement("input");
    tick.type = "checkbox";
    tick.addEventListener("change", () => choose(boxes.map((other) => (other.checked ? 1 : 0))));
    label.append(tick, name.replaceAll("_", " "));
    list.append(label);
    return tick;
  });
  box.append(list);
}

// A model that makes faces of drawings.

async function startDrawing() {
  const { model } = page;
  const drawn = at("drawn");
  const pen = drawn.getContext("2d", { willReadFrequently: true });
  const before = []; // for undo
  at("made-title").textContent = "What the model makes of it";
  const show = latest(async () => {
    model.paint(at("made"), await model.translate(model.pictureOf(drawn)));
  });
  const keep = () => {
    before.push(pen.getImageData(0, 0, drawn.width, drawn.height));
    if (before.length > 20) before.shift();
  };
  const clear = () => {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, drawn.width, drawn.height);
  };

  let point = null;
  const here = (event) => {
    const box = drawn.getBoundingClientRect();
    const scale = drawn.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const line = (to) => {
    const level = Math.round(255 * (1 - at("dark").value / 100));
    pen.strokeStyle = `rgb(${level} ${level} ${level})`;
    pen.lineWidth = Number(at("width").value);
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...point);
    pen.lineTo(...to);
    pen.stroke();
    point = to;
    show();
  };
  drawn.addEventListener("pointerdown", (event) => {
    keep();
    drawn.setPointerCapture(event.pointerId);
    point = here(event);
    line(point);
  });
  drawn.addEventListener("pointermove", (event) => point && line(here(event)));
  for (const end of ["pointerup", "pointercancel"]) {
    drawn.addEventListener(end, () => (point = null));
  }
  at("undo").addEventListener("click", () => {
    if (before.length) pen.putImageData(before.pop(), 0, 0);
    show();
  });
  at("clear").addEventListener("click", () => {
    keep();
    clear();
    show();
  });
  at("upload").addEventListener("change", async () => {
    const [file] = at("upload").files;
    if (!file) return;
    try {
      const picture = await createImageBitmap(file);
      const side = Math.min(picture.width, picture.height);
      keep();
      clear(); // behind what is transparent
      pen.imageSmoothingQuality = "high";
      pen.drawImage(
        picture,
        (picture.width - side) / 2, (picture.height - side) / 2, side, side,
        0, 0, drawn.width, drawn.height,
      );
      at("status").className = at("status").textContent = "";
      show();
    } catch {
      complain(`${file.name} is not a picture that this browser knows.`);
    }
  });
  clear();
  at("drawing").hidden = false;
  await show();
  loaded();
}

start().catch(failed);
