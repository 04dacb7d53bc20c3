// The pad one draws on: a canvas of 28 x 28 pixels, shown larger.

const MEAN = 0.286;
const DEVIATION = 0.353;

export class Pad {
  /** `changed` is called after each stroke's movement. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.pen = canvas.getContext("2d", { willReadFrequently: true });
    this.width = 2.5;
    this.shade = 255;
    let last;
    canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      last = this.place(event);
      this.line(last, last);
    });
    addEventListener("pointermove", (event) => {
      if (last !== undefined) {
        const next = this.place(event);
        this.line(last, next);
        last = next;
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      addEventListener(end, () => (last = undefined));
    }
    this.clear();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }

  line([x, y], [nextX, nextY]) {
    const { pen } = this;
    pen.strokeStyle = pen.fillStyle = `rgb(${this.shade}, ${this.shade}, ${this.shade})`;
    pen.lineWidth = this.width;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(x, y);
    // a line of no length is not drawn
    pen.lineTo(nextX + 0.01, nextY);
    pen.stroke();
    this.changed();
  }

  clear() {
    this.pen.fillStyle = "black";
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.changed();
  }

  /** Show garment `index` of a sheet, on which they stand side by side. */
  show(sheet, index) {
    const { width, height } = this.canvas;
    this.pen.drawImage(sheet, index * width, 0, width, height, 0, 0, width, height);
    this.changed();
  }

  /** Return the drawing as the networks of models/ take it: (pixel / 255 - mean) / deviation. */
  values() {
    const { width, height } = this.canvas;
    const { data } = this.pen.getImageData(0, 0, width, height);
    return Float32Array.from(
      { length: width * height },
      (_, index) => (data[4 * index] / 255 - MEAN) / DEVIATION,
    );
  }
}
