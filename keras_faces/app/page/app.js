// The page of `keras-faces serve`. The server remembers nothing: a face is its latent, which is
// kept here and sent along.

const GRID = 12; // faces to choose from
const SECOND = 6; // and to blend with
const TOLD_MS = 8000;
const FRAME_MS = 120;
const MAX_SEED = 2 ** 32;

// Where scripts find what is shown.
const page = {
  names: [], // of the models
  name: "",
  model: null, // what it can do
  first: null,
  second: null,
  conditions: null, // what the visitor changed them to
  asked: new AbortController(),
};

// Screen readers wait while the page is filled.
function busy(is) {
  document.querySelector("main").setAttribute("aria-busy", is);
}

// What is asked of the server.

async function ask(action, fields = {}, picture = null) {
  const { signal } = page.asked;
  const asked = JSON.stringify({ model: page.name, ...fields });
  const address = `api/${action}`;
  const type = picture ? "application/octet-stream" : "application/json";
  let answer;
  try {
    answer = await fetch(picture ? `${address}?asked=${encodeURIComponent(asked)}` : address, {
      method: "POST",
      headers: { "content-type": type },
      body: picture ?? asked,
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer. Is it still running?");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error ?? `the server failed (${answer.status}).`);
  }
  const json = answer.headers.get("content-type").startsWith("application/json");
  const found = json ? await answer.json() : await answer.blob();
  if (json && found.sheet) found.sheet = await loaded(found.sheet);
  if (json && found.ends) found.ends = await loaded(found.ends);
  signal.throwIfAborted(); // another model was chosen meanwhile
  return found;
}

async function loaded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

// Draw one face of a row of them.
function paint(canvas, sheet, number = 0) {
  const size = sheet.height;
  canvas.width = canvas.height = size;
  canvas.getContext("2d").drawImage(sheet, number * size, 0, size, size, 0, 0, size, size);
}

let fading;
function say(text) {
  clearTimeout(fading);
  at("status").className = "";
  at("status").textContent = text;
  fading = setTimeout(() => (at("status").textContent = ""), TOLD_MS);
}

const toThumb = (title, paintOn, pressed) => {
  const canvas = make("canvas", { "aria-hidden": "true" });
  paintOn(canvas);
  const thumb = make("button", { className: "thumb", title, "aria-label": title }, canvas);
  thumb.addEventListener("click", () => pressed(thumb));
  return thumb;
};

function press(grid, chosen) {
  for (const thumb of grid.children) thumb.setAttribute("aria-pressed", thumb === chosen);
}

// Choosing a face: of a seed, an example, an upload, the camera.

function makeChooser(key, { drawn, take, example }) {
  const root = at(`chooser-${key}`);
  const grid = make("div", { className: "thumbs", id: `samples-${key}`, role: "group" });
  grid.setAttribute("aria-label", "Faces drawn by the model");
  const upload = make("input", { type: "file", id: `upload-${key}` });
  upload.accept = "image/*,.heic,.heif,.avif,.jp2,.tif,.tiff,.pgm,.ppm,.pbm,.tga,.pcx,.qoi,.sgi";
  const cropped = make("input", { type: "checkbox", id: `cropped-${key}` });
  const camera = makeCamera((picture) => chooser.take(picture));
  const legend = make("legend", { textContent: "Conditions of your picture" });
  const holds = make("fieldset", { hidden: true });
  const examples = make("div", { className: "thumbs" });
  const whose = make("p", { className: "quiet" });
  const seen = make("div", { className: "seen", id: `seen-${key}` });
  const note = make("p", { className: "quiet", id: `note-${key}` });
  note.setAttribute("role", "status");
  const warning = make("p", { className: "warning", id: `warning-${key}`, hidden: true });
  root.append(
    ...(drawn ? [grid] : []),
    make(
      "div",
      { className: "row" },
      make("label", { className: "button" }, "Upload a picture", upload),
      camera.opener,
      make("label", { className: "tick" }, cropped, "already cropped to the face"),
    ),
    camera.panel,
    holds,
    make("div", { className: "examples", id: `examples-${key}` }, whose, examples),
    seen,
    note,
    warning,
  );

  let last = null;
  let held = [];
  const run = latest(async () => {
    if (!last) return;
    note.textContent = "Looking for the face…";
    warning.hidden = true;
    try {
      if (last.picture.size > page.limits.bytes) {
        const most = page.limits.bytes / 1e6;
        throw new Error(`This file has more than ${most} MB. Upload a smaller picture.`);
      }
      const conditions = page.model.conditions?.filter((_, i) => held[i]);
      await take(last, conditions ?? [], chooser);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      seen.replaceChildren();
      note.textContent = "";
      warning.textContent = error.message;
      warning.hidden = false;
    }
  });
  upload.addEventListener("change", () => {
    const [picture] = upload.files;
    if (picture) chooser.take(picture);
    upload.value = ""; // the same file may be chosen again
  });
  cropped.addEventListener("change", () => {
    if (last && !last.example) chooser.take(last.picture);
  });

  const chooser = {
    grid,
    take(picture, example = false) {
      last = { picture, example, cropped: example || cropped.checked };
      return run();
    },
    forget() {
      last = null;
      seen.replaceChildren();
      note.textContent = "";
      warning.hidden = true;
    },
    // Show a picture, the face in it, and what was made of that.
    show({ preview, sheet, note: told, unlike }, captions) {
      const figure = (child, caption) =>
        make("figure", {}, child, make("figcaption", { textContent: caption }));
      const figures = [figure(make("img", { src: preview, alt: "The picture" }), "the picture")];
      captions.forEach((caption, i) => {
        const canvas = make("canvas", { role: "img", "aria-label": caption });
        paint(canvas, sheet, i);
        figures.push(figure(canvas, caption));
      });
      seen.replaceChildren(...figures);
      note.textContent = told;
      warning.textContent = unlike;
      warning.hidden = !unlike;
    },
    async offer(to = null) {
      cropped.checked = to === "photo";
      const { conditions = [], one_condition: one } = page.model;
      held = conditions.map((_, i) => (one && i === 0 ? 1 : 0));
      holds.hidden = !conditions.length;
      const changed = (values) => {
        held = values;
        run();
      };
      holds.replaceChildren(legend, conditionChooser(conditions, one, held, changed));
      const { sheet, learnt } = await ask("examples", { to });
      const kind = to === "photo" ? "a sketch of " : "";
      whose.textContent = `Or try ${kind}one of ${learnt ? "its training" : "the ORL"} faces:`;
      const count = sheet.width / sheet.height;
      const thumbs = Array.from({ length: count }, (_, i) =>
        toThumb(
          `Example ${i + 1}`,
          (canvas) => paint(canvas, sheet, i),
          ({ firstElementChild: canvas }) => example(canvas, chooser),
        ),
      );
      examples.replaceChildren(...thumbs);
    },
  };
  return chooser;
}

function makeCamera(taken) {
  const panel = make("div", { className: "camera", hidden: true });
  if (!navigator.mediaDevices?.getUserMedia) {
    // Without a secure connection only the phone's own camera is to be had.
    const input = make("input", { type: "file", accept: "image/*" });
    input.setAttribute("capture", "user");
    input.addEventListener("change", () => input.files[0] && taken(input.files[0]));
    return { opener: make("label", { className: "button" }, "Camera", input), panel };
  }
  const opener = make("button", { textContent: "Camera" });
  const video = make("video", { autoplay: true, muted: true, playsInline: true });
  const shoot = make("button", { className: "main", textContent: "Take the picture" });
  panel.append(video, make("p", { className: "row" }, shoot));
  const close = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    panel.hidden = true;
  };
  opener.addEventListener("click", async () => {
    if (!panel.hidden) return close();
    try {
      const wanted = { video: { facingMode: "user" } };
      video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
      await video.play(); // there is no picture before
      panel.hidden = false;
    } catch (error) {
      complain(`Cannot use the camera: ${error.message}`);
    }
  });
  shoot.addEventListener("click", () => {
    const frame = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    frame.getContext("2d").drawImage(video, 0, 0);
    frame.toBlob((picture) => {
      close();
      taken(picture);
    });
  });
  return { opener, panel };
}

// A face of a picture, for `choose` or `chooseSecond`.
const takeFor = (chosen) => async (last, conditions, chooser) => {
  const { cropped } = last;
  const found = await ask("picture", { cropped, conditions }, last.picture);
  const copy = page.model.makes.length ? "the sketch made from it" : "the model's copy";
  chooser.show(found, ["found and framed", copy]);
  press(chooser.grid, null);
  const title = last.example ? "An example" : "Your picture";
  chosen({ latent: found.latent, title, sheet: found.sheet, number: 1 });
};

const choosers = {};

// The face and what is done with it.

const sliders = { attributes: [], directions: [] };

function amounts(kind) {
  return sliders[kind].map((slider) => Number(slider.value));
}

function change() {
  const found = {};
  const strengths = amounts("attributes");
  if (strengths.some(Boolean)) {
    found.attributes = {};
    sliders.attributes.forEach((slider, i) => {
      if (strengths[i] || at("hold").checked) found.attributes[slider.name] = strengths[i];
    });
    found.hold = at("hold").checked;
  }
  if (amounts("directions").some(Boolean)) found.directions = amounts("directions");
  if (page.conditions) {
    const names = page.model.conditions;
    found.conditions = Object.fromEntries(names.map((name, i) => [name, page.conditions[i]]));
  }
  return found;
}

const isChanged = () => Object.keys(change()).length > 0;

const show = latest(async () => {
  const { first, second } = page;
  if (!first) return;
  const percent = Number(at("percent").value);
  const blended = second && percent > 0;
  if (isChanged() || blended) {
    const fields = { latent: first.latent, change: change(), percent };
    const blob = await ask("face", { ...fields, second: blended ? second.latent : null });
    paint(at("face"), await createImageBitmap(blob));
  } else paint(at("face"), first.sheet, first.number);
  const told = [first.title];
  if (isChanged()) told.push("changed");
  if (blended) told.push(`${percent} % of the second face`);
  at("told").textContent = told.join(", ");
  if (at("status").className === "failed") say(""); // it works again
  at("face").setAttribute("aria-label", `The face: ${told.join(", ")}`);
  remember();
});

let strip = null;
const showStrip = latest(async () => {
  const { first, second } = page;
  if (!first || !second) return;
  paint(at("first-seen"), first.sheet, first.number);
  paint(at("second-seen"), second.sheet, second.number);
  strip = await createImageBitmap(await ask("morph", way()));
  const canvas = at("strip");
  Object.assign(canvas, { width: strip.width, height: strip.height });
  canvas.getContext("2d").drawImage(strip, 0, 0);
  paint(at("moving"), strip);
});

function way() {
  return {
    latent: page.first.latent,
    second: page.second.latent,
    change: change(),
    frames: Number(at("frames").value),
    path: at("path").value,
  };
}

function animate() {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let frame = 0;
  setInterval(() => {
    if (!strip || still.matches || document.hidden) return;
    const count = strip.width / strip.height;
    frame = (frame + 1) % (2 * count - 2);
    paint(at("moving"), strip, frame < count ? frame : 2 * count - 2 - frame);
  }, FRAME_MS);
}

function setPercent(value) {
  at("percent").value = value;
  at("percent-told").textContent = `${at("percent").value} %`;
}

function toTheMiddle() {
  for (const slider of [...sliders.attributes, ...sliders.directions]) setSlider(slider, 0);
  setPercent(0);
}

function choose(face) {
  page.first = face;
  page.conditions = null;
  toTheMiddle();
  showConditions();
  return Promise.all([show(), showStrip()]);
}

function chooseSecond(face) {
  page.second = face;
  return Promise.all([show(), showStrip()]);
}

function showConditions() {
  const { conditions, one_condition: one } = page.model;
  at("conditions").hidden = !conditions.length;
  if (!conditions.length) return;
  const held = page.conditions ?? page.first.latent.slice(-conditions.length);
  const chooser = conditionChooser(conditions, one, held, (chosen) => {
    page.conditions = chosen;
    show();
    showStrip();
  });
  at("conditions").replaceChildren(at("conditions").firstElementChild, chooser);
}

// Faces of seeds.

const seedOf = () => Math.min(MAX_SEED - 1, Math.abs(Math.trunc(Number(at("seed").value))) || 0);

async function drawn(seeds) {
  const sampler = at("sampler").value;
  const { latents, sheet } = await ask("sample", { seeds, sampler });
  return seeds.map((seed, number) => ({
    latent: latents[number],
    title: `Seed ${seed}`,
    seed,
    sheet,
    number,
  }));
}

function fill(grid, faces, chosen) {
  const thumbs = faces.map((face) =>
    toThumb(
      `Face of seed ${face.seed}`,
      (canvas) => paint(canvas, face.sheet, face.number),
      (thumb) => {
        press(grid, thumb);
        chosen(face);
      },
    ),
  );
  grid.replaceChildren(...thumbs);
  press(grid, thumbs[0]);
}

const seedsFrom = (start, count) =>
  Array.from({ length: count }, (_, i) => (start + i) % MAX_SEED);

// Fill both grids, and choose the first face of each.
const redraw = latest(async () => {
  const start = seedOf();
  const faces = await drawn(seedsFrom(start, GRID));
  fill(choosers.first.grid, faces, (face) => {
    choosers.first.forget();
    choose(face);
  });
  choosers.first.forget();
  page.second = null;
  await choose(faces[0]);
  busy(false);
  const others = await drawn(seedsFrom(start + GRID, SECOND));
  fill(choosers.second.grid, others, (face) => {
    choosers.second.forget();
    chooseSecond(face);
  });
  choosers.second.forget();
  await chooseSecond(others[0]);
  if (at("compare").open) compare();
});

// Sliders.

async function showSliders(kind) {
  const box = at(kind).querySelector("div");
  sliders[kind] = [];
  box.replaceChildren();
  const named = kind === "attributes";
  const { names, shares, ends } = await ask("directions", { named });
  const titles = named
    ? names.map(readable)
    : shares.map((share, i) => `Direction ${i + 1} (${percentage(share)})`);
  titles.forEach((title, i) => {
    const { reach } = page.limits;
    const { row, slider } = makeSlider(`${kind}-${i}`, title, { reach, step: 0.1 });
    slider.name = names[i] ?? "";
    slider.addEventListener("input", show);
    slider.addEventListener("change", showStrip);
    box.append(row);
    sliders[kind].push(slider);
    paint(at(`${kind}-${i}-low`), ends, 2 * i);
    paint(at(`${kind}-${i}-high`), ends, 2 * i + 1);
  });
  at(kind).hidden = !titles.length;
}

// Sketches and photos.

const made = { picture: null, cropped: false };
const toNow = () => document.querySelector('input[name="to"]:checked')?.value ?? null;

const takeSketch = async (last, _, chooser) => {
  const { cropped } = last;
  const found = await ask("translate", { to: toNow(), cropped }, last.picture);
  const back = toNow() === "photo" ? "sketch" : "photo";
  const captions = ["cropped", `the ${toNow()} made from it`];
  captions.push(`the ${back} made from that`);
  chooser.show(found, captions.slice(0, found.sheet.width / found.sheet.height));
  if (!page.model.latents) {
    paint(at("face"), found.sheet, 1);
    at("told").textContent = captions[1];
    at("face").setAttribute("aria-label", `The result: ${captions[1]}`);
  }
};

async function showTranslation() {
  const to = toNow();
  at("translate-title").textContent = to === "photo" ? "Sketch to photo" : "Photo to sketch";
  at("paper").hidden = to !== "photo";
  await choosers.picture.offer(to);
  const [example] = at("chooser-picture").querySelectorAll(".thumb");
  example.click();
}

// Models.

const labelOf = (name) => {
  const last = (path) => path.split(/[\\/]/).pop();
  return page.names.filter((other) => last(other) === last(name)).length > 1 ? name : last(name);
};

async function choseModel(given = new URLSearchParams()) {
  page.asked.abort();
  page.asked = new AbortController();
  const { signal } = page.asked;
  page.name = at("model").value;
  busy(true);
  Object.assign(page, { model: null, first: null, second: null, conditions: null });
  strip = null;
  at("told").textContent = "Loading the model…";
  for (const id of ["scores", "card", "compare", "search"]) at(id).open = false;
  const model = (page.model = await ask("about"));
  at("about").textContent = model.about;
  for (const id of ["choose", "change", "blend", "morph"]) at(id).hidden = !model.latents;
  at("translate").hidden = !model.makes.length;
  at("new").hidden = at("share").hidden = !model.latents;
  const kinds = model.latents ? ["face", "strip", "gif", "mp4"] : ["face"];
  for (const option of at("kind").options) option.hidden = !kinds.includes(option.value);
  at("kind").value = "face";
  showSteps();
  for (const to of document.querySelectorAll('input[name="to"]')) {
    to.parentElement.hidden = !model.makes.includes(to.value);
    to.checked = to.value === model.makes[0];
  }
  at("to").hidden = model.makes.length < 2;
  if (model.latents) await openLatents(given, signal);
  if (model.makes.length) await showTranslation();
  busy(false);
}

async function openLatents(given, signal) {
  const { model } = page;
  at("sampler").replaceChildren(...model.samplers.map((name) => new Option(name)));
  at("sampler").value = given.get("sampler") ?? model.sampler;
  at("samplers").hidden = model.samplers.length < 2;
  if (given.has("seed")) at("seed").value = given.get("seed");
  for (const kind of ["attributes", "directions"]) {
    sliders[kind] = [];
    at(kind).hidden = true;
  }
  await redraw();
  signal.throwIfAborted(); // which `latest` keeps to itself
  const named = model.attributes.length > 0;
  at("search").hidden = !named || model.encoder;
  at("no-attributes").hidden = named || !model.no_attributes;
  const why = `No attributes are known for this model. ${model.no_attributes}`;
  at("no-attributes").textContent = why;
  await showSliders("directions");
  if (named && (model.encoder || [...given.keys()].some((key) => key.startsWith("a.")))) {
    await showSliders("attributes");
  }
  await restore(given);
  signal.throwIfAborted();
  await choosers.first.offer();
  await choosers.second.offer();
}

// A link: model, seed and sliders. A face of a picture is its latent.

const packed = (latent) => {
  const bytes = new Uint8Array(Float32Array.from(latent).buffer);
  return btoa(String.fromCharCode(...bytes));
};
const unpacked = (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Array.from(new Float32Array(bytes.buffer));
};

function link() {
  const { first, second } = page;
  const given = new URLSearchParams({ model: page.name, seed: seedOf() });
  if (!first) return given;
  given.set("sampler", at("sampler").value);
  if (first.seed !== seedOf()) given.set("first", first.seed ?? packed(first.latent));
  if (second && second.seed !== (seedOf() + GRID) % MAX_SEED) {
    given.set("second", second.seed ?? packed(second.latent));
  }
  sliders.attributes.forEach((slider) => {
    if (Number(slider.value)) given.set(`a.${slider.name}`, slider.value);
  });
  if (at("hold").checked) given.set("hold", 1);
  amounts("directions").forEach((value, i) => value && given.set(`d.${i}`, value));
  if (page.conditions) given.set("conditions", page.conditions.join(""));
  if (Number(at("percent").value)) given.set("blend", at("percent").value);
  return given;
}

let remembering;
function remember() {
  clearTimeout(remembering); // browsers let an address change so often, and no oftener
  remembering = setTimeout(() => page.model && history.replaceState(null, "", `#${link()}`), 400);
}

async function restore(given) {
  for (const [key, chosen] of Object.entries({ first: choose, second: chooseSecond })) {
    const value = given.get(key);
    if (value === null) continue;
    const { grid } = choosers[key];
    if (/^\d{1,10}$/.test(value)) {
      const [face] = await drawn([Number(value)]);
      press(grid, [...grid.children].find(({ title }) => title === `Face of seed ${value}`));
      await chosen(face);
    } else {
      const latent = unpacked(value);
      const sheet = await createImageBitmap(await ask("face", { latent }));
      press(grid, null);
      await chosen({ latent, title: "Face from the link", sheet, number: 0 });
    }
  }
  at("hold").checked = given.has("hold");
  for (const slider of sliders.attributes) setSlider(slider, given.get(`a.${slider.name}`) ?? 0);
  sliders.directions.forEach((slider, i) => setSlider(slider, given.get(`d.${i}`) ?? 0));
  if (given.has("conditions")) {
    page.conditions = Array.from(given.get("conditions"), Number);
    showConditions();
  }
  setPercent(given.get("blend") ?? 0);
  if (isChanged() || given.has("blend")) await Promise.all([show(), showStrip()]);
}

async function share() {
  const url = `${location.origin}${location.pathname}#${link()}`;
  history.replaceState(null, "", url);
  try {
    if (navigator.share && matchMedia("(pointer: coarse)").matches) {
      await navigator.share({ url });
      return;
    }
    await navigator.clipboard.writeText(url);
    say("Link copied. It holds the model, the seed and the sliders.");
  } catch (error) {
    if (error.name !== "AbortError") say("Copy the link from the address bar.");
  }
}

// Saving.

async function save() {
  const kind = at("kind").value;
  const scale = Math.min(16, Math.max(1, Math.trunc(Number(at("scale").value)) || 1));
  const label = labelOf(page.name);
  const title = page.first?.title.toLowerCase().replaceAll(" ", "-");
  const name = title ? `${label}-${title}` : label;
  if (kind === "face" || kind === "strip") {
    savePicture(at(kind), kind === "face" ? name : `${name}-strip`, scale);
    return;
  }
  say("Writing the file…");
  const most = Math.min(8, scale); // larger ones keep the server busy for long
  saveBlob(await ask("morph", { ...way(), kind, scale: most }), `${name}.${kind}`);
  say(most < scale ? `Saved, enlarged ${most} times: a moving morph can be no larger.` : "Saved.");
}

// What is known of the model.

const compare = latest(async () => {
  const box = at("compare").querySelector(".thumbs");
  box.replaceChildren();
  const seed = page.first?.seed ?? seedOf();
  for (const name of page.names) {
    let thumb;
    try {
      const { sheet } = await ask("sample", { model: name, seeds: [seed] });
      const open = () => {
        at("model").value = name;
        switchModel(new URLSearchParams({ seed }));
      };
      thumb = toThumb(`Seed ${seed}, ${labelOf(name)}`, (canvas) => paint(canvas, sheet), open);
      thumb.append(labelOf(name));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      const textContent = `${labelOf(name)} cannot draw faces from seeds`;
      thumb = make("p", { className: "quiet", textContent });
    }
    box.append(thumb);
  }
});

function table([headers, ...rows]) {
  const cells = (kind, texts) => texts.map((textContent) => make(kind, { textContent }));
  const lines = [make("tr", {}, ...cells("th", headers))];
  lines.push(...rows.map((row) => make("tr", {}, ...cells("td", row))));
  return make("table", {}, ...lines);
}

async function showScores() {
  const { headers, rows, notes } = await ask("scores");
  const told = notes.map((note) => make("p", { className: "quiet", textContent: note }));
  return [table([headers, ...rows]), ...told];
}

// Headings, lists, tables and blocks of Markdown; the rest as it is written.
async function showCard() {
  const { text } = await ask("card");
  const found = [];
  text.split("```").forEach((part, i) => {
    if (i % 2) {
      found.push(make("pre", { textContent: part.replace(/^\w*\n/, "") }));
      return;
    }
    for (const block of part.split(/\n\s*\n/).map((lines) => lines.trim())) {
      const heading = block.match(/^#+\s*(.*)/)?.[1];
      if (heading) found.push(make("h3", { textContent: heading }));
      else if (block.startsWith("|")) {
        const rows = block.split("\n").filter((line) => !/^[|\s:-]+$/.test(line));
        found.push(table(rows.map((row) => row.split("|").slice(1, -1))));
      } else if (block.startsWith("- ")) {
        const lines = block.split("\n").map((line) => line.replace(/^- /, ""));
        found.push(make("ul", {}, ...lines.map((textContent) => make("li", { textContent }))));
      } else if (block) found.push(make("p", { textContent: block }));
    }
  });
  return found;
}

function onOpening(id, fill) {
  at(id).addEventListener("toggle", async () => {
    if (!at(id).open) return;
    const box = at(id).querySelector(".wide");
    box.replaceChildren(make("p", { textContent: "Loading…" }));
    try {
      box.replaceChildren(...(await fill()));
    } catch (error) {
      box.replaceChildren(make("p", { textContent: error.message }));
    }
  });
}

// The page.

function showSteps() {
  const steps = [...document.querySelectorAll("[data-step]")].filter((step) => !step.hidden);
  const links = steps.map((step) => {
    const to = make("a", { href: `#${step.id}`, textContent: step.dataset.step });
    to.addEventListener("click", (event) => {
      event.preventDefault(); // the address is the link that is shared
      step.scrollIntoView();
      step.querySelector("h2").tabIndex = -1;
      step.querySelector("h2").focus({ preventScroll: true });
    });
    return to;
  });
  at("steps").replaceChildren(...links);
}

const switchModel = (given) => choseModel(given).catch(failed);

async function start() {
  const answer = await fetch("api/models");
  page.limits = await answer.json();
  page.names = page.limits.models;
  for (const name of page.names) at("model").add(new Option(labelOf(name), name));
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  at("where").textContent = here
    ? "Nothing leaves this machine."
    : "Uploads go only to this page's server, which does not keep them.";
  const kinds = {
    face: "face (PNG)",
    strip: "morph as a strip (PNG)",
    gif: "morph (GIF)",
    mp4: "morph (MP4)",
  };
  for (const [kind, title] of Object.entries(kinds)) {
    const option = new Option(title, kind);
    option.disabled = kind === "mp4" && Boolean(page.limits.no_video);
    at("kind").add(option);
  }
  at("no-video").textContent = page.limits.no_video;
  at("no-video").hidden = !page.limits.no_video;

  const example = (canvas, chooser) => canvas.toBlob((picture) => chooser.take(picture, true));
  const sheet = drawingSheet(at("drawn"), () => example(at("drawn"), choosers.picture));
  choosers.first = makeChooser("first", { drawn: true, take: takeFor(choose), example });
  choosers.second = makeChooser("second", { drawn: true, take: takeFor(chooseSecond), example });
  choosers.picture = makeChooser("picture", {
    drawn: false,
    take: takeSketch,
    // A sketch is put on the sheet, to be drawn on.
    example: (...given) => (toNow() === "photo" ? sheet.put(given[0]) : example(...given)),
  });

  at("model").addEventListener("change", () => switchModel());
  at("new").addEventListener("click", () => {
    at("seed").value = Math.floor(Math.random() * 1_000_000);
    redraw();
    scrollTo(0, 0);
  });
  at("seed").addEventListener("input", redraw);
  at("sampler").addEventListener("change", redraw);
  at("hold").addEventListener("change", show);
  at("percent").addEventListener("input", () => {
    setPercent(at("percent").value);
    show();
  });
  for (const id of ["frames", "path"]) at(id).addEventListener("input", showStrip);
  for (const to of document.querySelectorAll('input[name="to"]')) {
    to.addEventListener("change", () => showTranslation().catch(failed));
  }
  at("search").addEventListener("toggle", () => {
    if (at("search").open && !sliders.attributes.length) showSliders("attributes").catch(failed);
  });
  at("compare").addEventListener("toggle", () => at("compare").open && compare());
  at("save").addEventListener("click", () => save().catch(failed));
  at("share").addEventListener("click", share);
  onOpening("scores", showScores);
  onOpening("card", showCard);
  animate();

  const given = new URLSearchParams(location.hash.slice(1));
  if (page.names.includes(given.get("model"))) at("model").value = given.get("model");
  await choseModel(given);
}

start().catch(failed);
