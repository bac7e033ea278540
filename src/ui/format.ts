/** Numbers as the page writes them. All are locale-free, so that screenshots and tests agree. */

/** 0.4123 → "0.41". */
export const share = (value: number, digits = 2): string => value.toFixed(digits);

/** A difference of shares in points with its sign: 0.062 → "+6.2", −0.03 → "−3.0". */
export function points(difference: number, digits = 1): string {
  const value = (difference * 100).toFixed(digits);
  if (Number(value) === 0) return `±${(0).toFixed(digits)}`;
  return difference > 0 ? `+${value}` : value.replace("-", "−");
}

/** A number with a true minus sign and three significant digits or so. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text =
    size >= 1000
      ? Math.round(value).toString()
      : size >= 10
        ? value.toFixed(1)
        : size >= 0.1 || size === 0
          ? value.toFixed(2)
          : value.toPrecision(2);
  return text.replace("-", "−");
}

/** 1234567 → "1,234,567". */
export const count = (value: number): string =>
  Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");

/** 83_886_080 → "84 MB"; decimal units, as browsers count storage. */
export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB", "TB"] as const;
  let scaled = value;
  let unit = -1;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${scaled < 9.95 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

/** Seconds as "4 s", "2 min 5 s", "1 h 12 min". */
export function duration(seconds: number): string {
  if (seconds < 9.5) return `${seconds.toFixed(seconds < 1 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** The first 8 digits of a hash; "base" stays "base". */
export const short = (hash: string): string => hash.slice(0, 8);

/** Milliseconds since the epoch as "2026-11-20". */
export const day = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** Milliseconds since the epoch as "2026-11-20 09:30" in UTC. */
export const minute = (at: number): string => new Date(at).toISOString().slice(0, 16).replace("T", " ");
