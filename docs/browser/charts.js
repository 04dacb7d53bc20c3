// The pictures: bars of class scores, and a raster of spikes that runs with time.

const ROWS = 20; // neurons that a layer shows
const COLUMN = 6; // pixels of a time-step
const ROW = 3;
const GAP = 9;

/** Return probabilities. */
export function softmax(scores) {
  const most = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

export class Bars {
  constructor(list, names) {
    this.rows = names.map((name) => {
      const row = list.appendChild(document.createElement("li"));
      row.innerHTML = "<span></span><div><i></i><b></b></div><output></output>";
      row.firstChild.textContent = name;
      const [bar, tick] = row.querySelectorAll("i, b");
      return { row, bar, tick, told: row.lastChild };
    });
  }

  /** Show the scores after a step. */
  show(scores) {
    const shares = softmax(scores);
    const best = shares.indexOf(Math.max(...shares));
    this.rows.forEach(({ row, bar, told }, index) => {
      bar.style.width = `${100 * shares[index]}%`;
      told.textContent = `${(100 * shares[index]).toFixed(0)} %`;
      row.dataset.score = scores[index];
      row.classList.toggle("best", index === best);
    });
    return { best, share: shares[best] };
  }

  /** Mark the scores of the rollout. */
  mark(scores) {
    softmax(scores).forEach((share, index) => {
      this.rows[index].tick.style.left = `${100 * share}%`;
      this.rows[index].row.dataset.rollout = scores[index];
    });
  }
}

export class Raster {
  /** One band a layer; `labels` holds the texts beside them. */
  constructor(canvas, labels, layers) {
    this.canvas = canvas;
    this.layers = layers;
    this.band = ROWS * ROW + GAP;
    canvas.height = layers.length * this.band;
    canvas.width = Math.floor(canvas.parentElement.clientWidth / COLUMN) * COLUMN || 600;
    this.pen = canvas.getContext("2d");
    this.told = layers.map((layer) => {
      const label = labels.appendChild(document.createElement("div"));
      label.style.height = `${this.band}px`;
      label.innerHTML = "<b></b><span></span>";
      label.firstChild.textContent = label.title = layer.name;
      return label.lastChild;
    });
    this.clear();
  }

  clear() {
    this.column = 0;
    this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.layers.forEach((_, index) => this.shade(index, 0, this.canvas.width));
  }

  shade(index, left, width) {
    this.pen.fillStyle = "#141a26";
    this.pen.fillRect(left, index * this.band, width, ROWS * ROW);
  }

  /** Draw the spikes of one time-step; return how many there were, and of how many neurons. */
  draw(spikes, fresh) {
    const { pen, canvas, band } = this;
    let left = this.column * COLUMN;
    if (left >= canvas.width) {
      // what is there moves on by a step
      left = canvas.width - COLUMN;
      pen.globalCompositeOperation = "copy";
      pen.drawImage(canvas, -COLUMN, 0);
      pen.globalCompositeOperation = "source-over";
    }
    this.column = left / COLUMN + 1;
    let all = 0;
    let neurons = 0;
    spikes.forEach((values, index) => {
      this.shade(index, left, COLUMN);
      if (fresh) {
        pen.fillStyle = "#3d4a63";
        pen.fillRect(left, index * band, 1, ROWS * ROW);
      }
      const sent = values.reduce((count, value) => count + (value !== 0), 0);
      const stride = Math.max(1, values.length / ROWS);
      for (let row = 0; row < Math.min(ROWS, values.length); row++) {
        const height = values[Math.floor((row + 0.5) * stride)];
        if (height !== 0) {
          pen.fillStyle = colour(height);
          pen.fillRect(left + 1, index * band + row * ROW, COLUMN - 1, ROW - 1);
        }
      }
      this.told[index].textContent = `${sent.toLocaleString("en")} / ${values.length.toLocaleString("en")}`;
      all += sent;
      neurons += values.length;
    });
    return { all, neurons };
  }
}

/** Warm spikes add, cold ones take back; the brighter, the higher: eight octaves. */
function colour(height) {
  const light = 48 + 5 * Math.min(8, Math.log2(Math.abs(height)));
  return `hsl(${height > 0 ? 38 : 205} 95% ${light}%)`;
}
