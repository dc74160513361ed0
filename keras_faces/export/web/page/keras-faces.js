// The model as functions. Pictures are Float32Arrays, NHWC in [-1, 1]; so are latents, row by row.
//
//   const model = await KerasFaces.open();
//   const latents = await model.draw(model.noise(1));
//   model.paint(canvas, await model.decode(latents));

const KerasFaces = {
  async open() {
    const { about, graphs } = KERAS_FACES_MODEL;
    const ort = await this.runtime();
    const sessions = {};
    for (const [name, graph] of Object.entries(graphs)) {
      sessions[name] = await ort.InferenceSession.create(await this.unpacked(graph), {
        executionProviders: ["wasm"],
      });
      delete graphs[name]; // the text is large
    }
    return new FaceModel(about, ort, sessions);
  },

  async runtime() {
    const { module, wasm } = KERAS_FACES_RUNTIME;
    const address = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
    const ort = await import(address);
    URL.revokeObjectURL(address);
    // One thread, as several need a server that sends special headers.
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = await this.unpacked(wasm);
    return ort;
  },

  // Bytes that were gzipped and written in base64.
  async unpacked(text) {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  },
};

class FaceModel {
  constructor(about, ort, sessions) {
    this.about = about;
    this.ort = ort;
    this.sessions = sessions;
    this.last = Promise.resolve();
  }

  // Standard normal noise of a seed, for one face. NumPy's for the same seed is another.
  noise(seed) {
    const uniform = mulberry32(seed);
    return Float32Array.from({ length: this.about.latents }, () => {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      return radius * Math.cos(2 * Math.PI * uniform());
    });
  }

  // Noise to latents, through the model's default sampler.
  draw(noise) {
    return this.run("draw", { noise: [noise, [this.about.latents]] });
  }

  // Latents of one face or several to faces. Conditions of a conditional model, 0 or 1 each, are
  // those of all of them.
  decode(latents, conditions = []) {
    const given = { latents: [latents, [this.about.latents]] };
    const names = this.about.conditions;
    if (names.length) {
      const rows = latents.length / this.about.latents;
      const all = Float32Array.from({ length: rows * names.length }, (_, i) => {
        return conditions[i % names.length] || 0;
      });
      given.conditions = [all, [names.length]];
    }
    return this.run("decode", given);
  }

  // Pictures to pictures, of a model that makes faces from faces.
  translate(pictures) {
    const { size, channels, takes } = this.about;
    return this.run("translate", { [takes]: [pictures, [size, size, channels]] });
  }

  // One graph at a time, as onnxruntime-web asks for.
  run(name, given) {
    const next = this.last.then(async () => {
      const tensors = {};
      for (const [key, [values, shape]] of Object.entries(given)) {
        const count = values.length / shape.reduce((a, b) => a * b);
        tensors[key] = new this.ort.Tensor("float32", values, [count, ...shape]);
      }
      const made = await this.sessions[name].run(tensors);
      return made.output_0.data;
    });
    this.last = next.catch(() => {});
    return next;
  }

  // Draw one of several pictures on a canvas, which takes their size.
  paint(canvas, pictures, number = 0) {
    const { size } = this.about;
    canvas.width = canvas.height = size;
    canvas.getContext("2d").putImageData(this.picture(pictures, number), 0, 0);
  }

  picture(pictures, number = 0) {
    const { size, channels } = this.about;
    const image = new ImageData(size, size);
    const start = number * size * size * channels;
    for (let i = 0; i < size * size; i++) {
      for (let c = 0; c < 3; c++) {
        const value = pictures[start + i * channels + (channels === 3 ? c : 0)];
        image.data[4 * i + c] = Math.round((value + 1) * 127.5); // it is clamped to 0 to 255
      }
      image.data[4 * i + 3] = 255;
    }
    return image;
  }

  // What is on a canvas of any size, as a picture for `translate`.
  pictureOf(canvas) {
    const { size, channels } = this.about;
    const small = new OffscreenCanvas(size, size).getContext("2d");
    small.imageSmoothingQuality = "high";
    small.drawImage(canvas, 0, 0, size, size);
    const { data } = small.getImageData(0, 0, size, size);
    const picture = new Float32Array(size * size * channels);
    for (let i = 0; i < size * size; i++) {
      const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
      const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
      const levels = channels === 3 ? [red, green, blue] : [grey];
      levels.forEach((level, c) => (picture[i * channels + c] = level / 127.5 - 1));
    }
    return picture;
  }
}

// A small random number generator with a 32-bit seed (Tommy Ettinger, public domain).
function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
