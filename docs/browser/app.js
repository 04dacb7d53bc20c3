// The page: a drawing goes through the step graph, one time-step a frame, and through the rollout.

import { Bars, Raster } from "./charts.js";
import { Pad } from "./pad.js";
import { StepGraph } from "./step_graph.js";

const CLASSES = [
  "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot",
];
const PATIENCE = 200; // milliseconds without a stroke, after which the rollout runs

const part = (name) => document.getElementById(name);

/** Fetch a file beside this page, as bytes. */
async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) {
    throw new Error(`${name} is not there`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

class Page {
  constructor(ort, graph, rollout) {
    this.ort = ort;
    this.graph = graph;
    this.rollout = rollout;
    this.playing = true;
    this.fresh = true;
    this.running = Promise.resolve();
    this.bars = new Bars(part("scores"), CLASSES);
    this.raster = new Raster(part("raster"), part("layers"), graph.layers);
    this.pad = new Pad(part("pad"), () => this.changed());
    this.connect();
    const { coding = "rate", timesteps, tool } = graph.about;
    part("about").textContent = `${coding} coding, T = ${timesteps}, made by ${tool}`;
    if (!graph.counts) {
      this.say("This model keeps no counts of its spikes: convert with --preset differential or --neuron signed.");
    }
    this.frame();
  }

  connect() {
    part("play").onclick = () => this.play(!this.playing);
    part("step").onclick = () => {
      this.play(false);
      this.step();
    };
    part("reset").onclick = () => this.reset();
    part("clear").onclick = () => this.pad.clear();
    for (const button of document.querySelectorAll("[data-width], [data-shade]")) {
      button.onclick = () => {
        const { width, shade } = button.dataset;
        this.pad.width = Number(width ?? this.pad.width);
        this.pad.shade = Number(shade ?? this.pad.shade);
        button.parentElement.querySelectorAll("button").forEach((one) => {
          one.classList.toggle("on", one === button);
        });
      };
    }
    CLASSES.forEach((name, index) => {
      const button = part("garments").appendChild(document.createElement("button"));
      button.title = button.ariaLabel = name;
      button.style.backgroundPositionX = `${-index * 40}px`;
      button.onclick = () => this.pad.show(part("sheet"), index);
    });
  }

  play(on) {
    this.playing = on;
    part("play").textContent = on ? "Pause" : "Play";
  }

  reset() {
    this.running = this.running.then(() => {
      this.graph.reset();
      this.raster.clear();
      part("time").textContent = "t = 0";
    });
    this.fresh = true;
  }

  /** A stroke has changed the drawing. */
  changed() {
    this.image = undefined;
    this.fresh = true;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.whole(), PATIENCE);
  }

  tensor() {
    this.image ??= new this.ort.Tensor("float32", this.pad.values(), [1, 1, 28, 28]);
    return this.image;
  }

  /** Run one time-step behind those that are due. */
  step() {
    this.running = this.running.then(() => this.advance()).catch((error) => this.say(error.message));
    return this.running;
  }

  async advance() {
    const { fresh } = this;
    this.fresh = false;
    if (fresh && !this.graph.streams) {
      this.graph.reset(); // a rate is a mean over one input
    }
    const { scores, spikes } = await this.graph.step(this.tensor());
    const { best, share } = this.bars.show(scores);
    part("time").textContent = `t = ${this.graph.t}`;
    part("answer").textContent = CLASSES[best];
    part("answer").style.opacity = 0.35 + 0.65 * share;
    if (this.graph.counts) {
      const { all, neurons } = this.raster.draw(spikes, fresh);
      part("spikes").textContent =
        `${all.toLocaleString("en")} spikes in this step, of ${neurons.toLocaleString("en")} neurons`;
    }
    document.body.dataset.steps = this.graph.t;
  }

  /** All time-steps in one run. */
  whole() {
    const run = async () => {
      const begun = performance.now();
      const found = await this.rollout.run({ [this.rollout.inputNames[0]]: this.tensor() });
      const scores = found[this.rollout.outputNames[0]].data;
      this.bars.mark(scores);
      const best = CLASSES[scores.indexOf(Math.max(...scores))];
      const took = (performance.now() - begun).toFixed(0);
      part("whole").textContent = `Rollout: ${best}, ${took} ms for all ${this.graph.about.timesteps} steps`;
      document.body.dataset.rollouts = Number(document.body.dataset.rollouts ?? 0) + 1;
    };
    this.running = this.running.then(run).catch((error) => this.say(error.message));
  }

  async frame() {
    if (this.playing) {
      await this.step();
    }
    requestAnimationFrame(() => this.frame());
  }

  say(text) {
    part("trouble").textContent = text;
    part("trouble").hidden = false;
  }
}

async function start() {
  const ort = globalThis.ort;
  if (ort === undefined) {
    throw new Error("ort.wasm.min.js is not there");
  }
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./", location.href).href;
  const graph = await StepGraph.open(ort, await fetched("model.snn.onnx"));
  const rollout = await ort.InferenceSession.create(await fetched("model.rollout.onnx"));
  globalThis.page = new Page(ort, graph, rollout);
  document.body.dataset.state = "ready";
}

start().catch((error) => {
  part("trouble").textContent = `${error.message}. The page "In a browser" of the documentation says which files stand beside this one.`;
  part("trouble").hidden = false;
  document.body.dataset.state = "failed";
});
