// What is seen: the controls of a model with latents, or those of one that makes faces of drawings.

const REACH = 3; // standard deviations to each side of a slider
const STRIP = 8; // faces of the strip

// Where one's own scripts find what is shown.
const page = { model: null, latents: null, conditions: [], ready: false };

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
    const { canvas } = button.dataset;
    button.addEventListener("click", () => savePicture(at(canvas), `${about.model}-${canvas}`));
  }
  await ("latents" in about ? startLatents() : startDrawing());
  page.ready = true;
}

// A model with latents.

async function startLatents() {
  const { model } = page;
  const { about } = model;
  let base = Float32Array.from(about.mean);

  // Uniform latents end at -1 and 1.
  const within = (latents) =>
    about.uniform ? latents.map((v) => Math.min(1, Math.max(-1, v))) : latents;
  // Those that are known by name, then those that are not.
  const directions = [
    ...Object.entries(about.attributes).map(([name, step]) => ({ step, title: readable(name) })),
    ...about.directions.map((step, i) => ({
      step,
      title: `Direction ${i + 1} (${percentage(about.shares[i])})`,
      unit: " sd",
    })),
  ];
  const moved = (from, amounts) => {
    const latents = Float32Array.from(from);
    directions.forEach(({ step }, i) => {
      step.forEach((part, j) => (latents[j] += amounts[i] * part));
    });
    return within(latents);
  };

  const sliders = directions.map(({ title, unit }, i) => {
    const { row, slider } = makeSlider(`slider-${i}`, title, { reach: REACH, unit });
    at("sliders").append(row);
    return slider;
  });
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
        const amounts = sliders.map((_, j) => (j === i ? side * REACH : 0));
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
  const one = about.one_condition;
  page.conditions = about.conditions.map((_, i) => (one && i === 0 ? 1 : 0));
  if (about.conditions.length) {
    const chooser = conditionChooser(about.conditions, one, page.conditions, (chosen) => {
      page.conditions = chosen;
      return Promise.all([show(), showStrip(), showEnds()]);
    });
    at("conditions").append(chooser);
    at("conditions").hidden = false;
  }
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
  loaded(); // the rest, some dozens of faces, may take a while
  await showStrip();
  await showEnds();
}

function seedOf(input) {
  return Math.abs(Math.trunc(Number(input.value))) || 0;
}

// A model that makes faces of drawings.

async function startDrawing() {
  const { model } = page;
  const drawn = at("drawn");
  at("made-title").textContent = "What the model makes of it";
  const show = latest(async () => {
    model.paint(at("made"), await model.translate(model.pictureOf(drawn)));
  });
  const sheet = drawingSheet(drawn, show);
  at("upload").addEventListener("change", async () => {
    const [file] = at("upload").files;
    if (!file) return;
    try {
      sheet.put(await createImageBitmap(file));
      at("status").className = at("status").textContent = "";
    } catch {
      complain(`${file.name} is not a picture that this browser knows.`);
    }
  });
  at("drawing").hidden = false;
  await show();
  loaded();
}

start().catch(failed);
