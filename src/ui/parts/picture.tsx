import { useLayoutEffect, useRef } from "preact/hooks";
import type { Picture } from "../../base/records.ts";

export interface PictureProps {
  readonly picture: Picture | null;
  /** What a screen reader says; "" when the same words stand beside the picture. */
  readonly label: string;
  readonly size: "s" | "m" | "l" | "xl";
}

/** A picture at its own resolution, enlarged without smoothing; a hatched square where there is none. */
export function PictureView({ picture, label, size }: PictureProps) {
  const ref = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    if (picture && ref.current) paint(ref.current, picture);
  }, [picture]);
  const hidden = label === "";
  const name = hidden ? { "aria-hidden": true } : { role: "img" as const, "aria-label": label };
  if (!picture) return <span class={`picture picture-${size} picture-none`} {...name} />;
  return <canvas ref={ref} class={`picture picture-${size}`} width={picture.size} height={picture.size} {...name} />;
}

function paint(canvas: HTMLCanvasElement, picture: Picture): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  const image = context.createImageData(picture.size, picture.size);
  for (let pixel = 0; pixel < picture.size * picture.size; pixel += 1) {
    image.data[pixel * 4] = picture.rgb[pixel * 3] as number;
    image.data[pixel * 4 + 1] = picture.rgb[pixel * 3 + 1] as number;
    image.data[pixel * 4 + 2] = picture.rgb[pixel * 3 + 2] as number;
    image.data[pixel * 4 + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}
