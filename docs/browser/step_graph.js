// A step graph in onnxruntime-web: its description, its states, and one time-step at a time.
// docs/format.md specifies what is read here.

const METADATA_PROPS = 14; // the field of ModelProto

/** Yield the fields of a protobuf message: [number, value]; nested messages and texts are bytes. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    let scale = 1;
    let byte;
    do {
      byte = bytes[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return value;
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    const kind = tag % 8;
    if (kind === 0) {
      yield [number, varint()];
    } else if (kind === 2) {
      const size = varint();
      yield [number, bytes.subarray(at, at + size)];
      at += size;
    } else {
      at += kind === 1 ? 8 : 4;
    }
  }
}

/** Return the description in a model's metadata, or undefined where there is none. */
export function description(bytes, wanted = "onnx2snn") {
  const text = (part) => new TextDecoder().decode(part);
  for (const [number, entry] of fields(bytes)) {
    if (number === METADATA_PROPS) {
      const { 1: key, 2: value } = Object.fromEntries(fields(entry));
      if (text(key) === wanted) {
        return JSON.parse(text(value));
      }
    }
  }
  return undefined;
}

export class StepGraph {
  /** Open a step graph from its bytes. */
  static async open(ort, bytes) {
    const about = description(bytes);
    if (about === undefined) {
      throw new Error("model.snn.onnx is no step graph; make it with onnx2snn");
    }
    return new StepGraph(ort, await ort.InferenceSession.create(bytes), about);
  }

  constructor(ort, session, about) {
    this.ort = ort;
    this.session = session;
    this.about = about;
    const given = new Set(about.states.map((state) => state.input));
    const made = new Set(about.states.map((state) => state.output));
    [this.input] = session.inputNames.filter((name) => !given.has(name));
    [this.output] = session.outputNames.filter((name) => !made.has(name));
    // what a layer has sent is a state; its increase in a step is the spikes
    this.layers = about.neurons.map(({ name, source, shape }) => ({
      name: source || name,
      shape,
      sent: about.states.find((state) => state.input === `${name}/sent`),
    }));
    this.reset();
  }

  /** Whether an input that changes needs no reset: spikes tell changes. */
  get streams() {
    return this.about.coding === "differential";
  }

  /** Whether the states tell the spikes. */
  get counts() {
    return this.layers.every((layer) => layer.sent !== undefined);
  }

  reset() {
    this.t = 0;
    this.states = {};
    for (const { input, rank } of this.about.states) {
      // zeros of shape [1, ..., 1] will do
      this.states[input] = new this.ort.Tensor("float32", [0], Array(rank).fill(1));
    }
  }

  /** Run one time-step; return the scores and the spikes of each layer. */
  async step(image) {
    const found = await this.session.run({ ...this.states, [this.input]: image });
    const before = this.states;
    this.states = {};
    for (const { input, output } of this.about.states) {
      this.states[input] = found[output];
    }
    this.t += 1;
    const spikes = this.layers.map(({ sent }) =>
      sent === undefined ? undefined : increase(before[sent.input].data, found[sent.output].data),
    );
    return { scores: found[this.output].data, spikes };
  }
}

function increase(before, after) {
  const one = before.length === 1;
  return after.map((value, index) => value - before[one ? 0 : index]);
}
