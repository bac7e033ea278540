import type { Picture, WorldName } from "../base/records.ts";
import type { Rng } from "../base/rng.ts";
import { GRID, type Scene } from "./scene.ts";

/** Pixels a side of a cell and of a picture. */
export const CELL = 8;
export const PICTURE_SIZE = GRID * CELL;

type Rgb = readonly [number, number, number];

export const BACKGROUND: Rgb = [40, 40, 48];

/** In the order of COLOURS: red, green, blue, yellow. */
export const PALETTE: readonly Rgb[] = [
  [230, 60, 50],
  [50, 185, 80],
  [70, 105, 240],
  [240, 210, 60],
];

/**
 * How world B looks, fixed before any loop was run. Channel values are in [0, 1]:
 * y = clamp(brightness · x + offset + noise · N(0, 1)), brightness and offset drawn once a picture,
 * the noise once a pixel and channel; then y is rounded to a byte.
 */
export const SHIFT_B = {
  brightness: [0.45, 0.8],
  offset: [0, 0.15],
  noise: 0.06,
} as const;

// Inside tests in cell units, pixels from the cell's centre; in the order of SHAPES: circle, square, triangle.
const INSIDE: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => x * x + y * y <= 2.9 * 2.9,
  (x, y) => Math.abs(x) <= 3 && Math.abs(y) <= 3,
  (x, y) => y <= 3 && 2 * Math.abs(x) <= y + 3, // apex above, base below
];

/** Sub-samples a side of a pixel, for smooth edges. */
const SUBSAMPLES = 4;

/** Coverage of each pixel of a cell, 0…1 in steps of 1/16, per shape. */
const COVERAGE: readonly Float64Array[] = INSIDE.map((inside) => {
  const coverage = new Float64Array(CELL * CELL);
  const fine = CELL * SUBSAMPLES;
  for (let i = 0; i < fine * fine; i++) {
    const x = i % fine;
    const y = Math.floor(i / fine);
    const hit = inside((x + 0.5) / SUBSAMPLES - CELL / 2, (y + 0.5) / SUBSAMPLES - CELL / 2);
    const pixel = Math.floor(y / SUBSAMPLES) * CELL + Math.floor(x / SUBSAMPLES);
    if (hit) coverage[pixel] = (coverage[pixel] as number) + 1 / SUBSAMPLES ** 2;
  }
  return coverage;
});

/** The clean picture of a scene: the same bytes on every machine. */
export function render(scene: Scene): Picture {
  const rgb = new Uint8Array(PICTURE_SIZE * PICTURE_SIZE * 3);
  for (let i = 0; i < rgb.length; i++) rgb[i] = BACKGROUND[i % 3] as number;
  for (const object of scene) {
    const coverage = COVERAGE[object.shape] as Float64Array;
    const colour = PALETTE[object.colour] as Rgb;
    for (let i = 0; i < coverage.length; i++) {
      const x = object.column * CELL + (i % CELL);
      const y = object.row * CELL + Math.floor(i / CELL);
      const at = (y * PICTURE_SIZE + x) * 3;
      for (let c = 0; c < 3; c++) {
        const ground = BACKGROUND[c] as number;
        rgb[at + c] = Math.round(ground + (coverage[i] as number) * ((colour[c] as number) - ground));
      }
    }
  }
  return { size: PICTURE_SIZE, rgb };
}

/** The same picture as world B's camera sees it (SHIFT_B). */
export function shiftB(picture: Picture, rng: Rng): Picture {
  const [darkest, brightest] = SHIFT_B.brightness;
  const brightness = darkest + (brightest - darkest) * rng.next();
  const offset = SHIFT_B.offset[0] + (SHIFT_B.offset[1] - SHIFT_B.offset[0]) * rng.next();
  const rgb = picture.rgb.map((byte) => {
    const value = brightness * (byte / 255) + offset + SHIFT_B.noise * rng.normal();
    return Math.round(255 * Math.min(1, Math.max(0, value)));
  });
  return { size: picture.size, rgb };
}

/** A picture of the scene as it looks in that world; A and C are clean. */
export function photograph(scene: Scene, world: WorldName, rng: Rng): Picture {
  const clean = render(scene);
  return world === "B" ? shiftB(clean, rng) : clean;
}
