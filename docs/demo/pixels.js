// From an image's pixels to the network's input, and from its logits to labels, by the rules of `segattn predict`.

/** The [height, width] at which an image is read: its own where that is near the one of training, else brought to it. */
export function readingSize(height, width, { trainedAt, near }) {
  const long = Math.max(...trainedAt);
  const factor = Math.max(height, width) / long;
  if (near[0] <= factor && factor <= near[1]) return [height, width];
  if (height > width) return [long, Math.max(1, Math.floor((width * long) / height + 0.5))];
  return [Math.max(1, Math.floor((height * long) / width + 0.5)), long];
}

/**
 * Pixels at another size, as OpenCV's resize gives them: averaged where the image gets smaller, else bilinear.
 *
 * @param {Uint8ClampedArray} rgba (height, width, 4); alpha is dropped
 * @param {[number, number]} from its height and width
 * @param {[number, number]} to height and width of the result
 * @returns {Uint8Array} (3, height, width), red, green, blue
 */
export function planes(rgba, from, to) {
  const [height, width] = to;
  const result = new Uint8Array(3 * height * width);
  if (from[0] === height && from[1] === width) {
    for (let i = 0; i < height * width; i++) {
      for (let c = 0; c < 3; c++) result[c * height * width + i] = rgba[4 * i + c];
    }
  } else if (height <= from[0] && width <= from[1]) {
    average(rgba, from, to, result);
  } else {
    interpolate(rgba, from, to, result);
  }
  return result;
}

/** Which source pixels make each output pixel of one side, and their weights in float32. */
function areas(source, target) {
  const scale = source / target;
  return Array.from({ length: target }, (_, i) => {
    const start = i * scale, end = start + scale;
    const cell = Math.min(scale, source - start);
    const last = Math.min(Math.floor(end), source - 1);
    const first = Math.min(Math.ceil(start), last);
    const taken = [];
    if (first - start > 1e-3) taken.push([first - 1, Math.fround((first - start) / cell)]);
    for (let at = first; at < last; at++) taken.push([at, Math.fround(1 / cell)]);
    if (end - last > 1e-3) taken.push([last, Math.fround(Math.min(end - last, 1, cell) / cell)]);
    return taken;
  });
}

function average(rgba, from, to, result) {
  const [height, width] = to;
  const across = areas(from[1], width), down = areas(from[0], height);
  const whole = Number.isInteger(from[0] / height) && Number.isInteger(from[1] / width);
  const halves = from[0] === 2 * height && from[1] === 2 * width;
  const share = Math.fround(1 / ((from[0] / height) * (from[1] / width)));
  const row = new Float32Array(3 * width), sum = new Float32Array(3 * width);
  for (let y = 0; y < height; y++) {
    sum.fill(0);
    for (const [sourceY, beta] of down[y]) {
      row.fill(0);
      for (let x = 0; x < width; x++) {
        for (const [sourceX, alpha] of across[x]) {
          const at = 4 * (sourceY * from[1] + sourceX);
          for (let c = 0; c < 3; c++) row[3 * x + c] += whole ? rgba[at + c] : Math.fround(rgba[at + c] * alpha);
        }
      }
      for (let i = 0; i < sum.length; i++) sum[i] += whole ? row[i] : Math.fround(row[i] * beta);
    }
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const value = sum[3 * x + c];
        const mean = whole ? Math.fround(value * share) : value;
        result[(c * height + y) * width + x] = halves ? Math.floor((value + 2) / 4) : rounded(mean);
      }
    }
  }
}

/** To the nearest whole number, halves to the even one. */
function rounded(value) {
  const below = Math.floor(value), rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** For each output pixel of one side the two source pixels and their weights, in 1/2048. */
function pairs(source, target) {
  const scale = source / target;
  return Array.from({ length: target }, (_, i) => {
    const position = Math.fround((i + 0.5) * scale - 0.5);
    const first = Math.floor(position), second = Math.fround(position - first);
    const clamped = (at) => Math.min(Math.max(at, 0), source - 1);
    return [clamped(first), clamped(first + 1), rounded(Math.fround(1 - second) * 2048), rounded(second * 2048)];
  });
}

function interpolate(rgba, from, to, result) {
  const [height, width] = to;
  const across = pairs(from[1], width), down = pairs(from[0], height);
  for (let y = 0; y < height; y++) {
    const [top, bottom, upper, lower] = down[y];
    for (let x = 0; x < width; x++) {
      const [left, right, first, second] = across[x];
      for (let c = 0; c < 3; c++) {
        const at = (row, column) => rgba[4 * (row * from[1] + column) + c];
        const above = (at(top, left) * first + at(top, right) * second) >> 4;
        const below = (at(bottom, left) * first + at(bottom, right) * second) >> 4;
        const value = ((upper * above) >> 16) + ((lower * below) >> 16);
        result[(c * height + y) * width + x] = (value + 2) >> 2;
      }
    }
  }
}

/**
 * The class with the largest logit at each pixel, the logits resized bilinearly to the image's size first.
 *
 * @param {Float32Array} logits (classes, h, w)
 * @param {number} classes
 * @param {[number, number]} from h and w
 * @param {[number, number]} to height and width of the labels
 * @returns {Uint8Array} (height, width)
 */
export function labelsOf(logits, classes, from, to) {
  const [h, w] = from, [height, width] = to;
  const labels = new Uint8Array(height * width);
  const down = neighbours(h, height), across = neighbours(w, width);
  const { first: left, second: right, weight: second } = across;
  const row = new Float32Array(w), best = new Float32Array(width);
  for (let y = 0; y < height; y++) {
    const [top, bottom, lower] = [down.first[y] * w, down.second[y] * w, down.weight[y]];
    best.fill(-Infinity);
    for (let k = 0; k < classes; k++) {
      const plane = k * h * w;
      for (let x = 0; x < w; x++) {
        row[x] = logits[plane + top + x] * (1 - lower) + logits[plane + bottom + x] * lower;
      }
      for (let x = 0; x < width; x++) {
        const value = Math.fround(row[left[x]] * (1 - second[x]) + row[right[x]] * second[x]);
        if (value > best[x]) {
          best[x] = value;
          labels[y * width + x] = k;
        }
      }
    }
  }
  return labels;
}

/** PyTorch's bilinear interpolation of one side, align_corners=False. */
function neighbours(source, target) {
  const first = new Int32Array(target), second = new Int32Array(target), weight = new Float32Array(target);
  const scale = Math.fround(source / target);
  for (let i = 0; i < target; i++) {
    const position = Math.max(0, Math.fround(Math.fround((i + 0.5) * scale) - 0.5));
    first[i] = Math.min(Math.floor(position), source - 1);
    second[i] = Math.min(first[i] + 1, source - 1);
    weight[i] = position - first[i];
  }
  return { first, second, weight };
}

/** The number of pixels of each of the classes. */
export function counts(labels, classes) {
  const found = new Array(classes).fill(0);
  for (const label of labels) found[label]++;
  return found;
}
