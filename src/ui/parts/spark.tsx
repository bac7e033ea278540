import type { Checkpoint, HeldOutPoint } from "../model.ts";

const width = 240;
const height = 64;
const inset = 6;

export interface SparkProps {
  readonly points: readonly HeldOutPoint[];
  readonly rounds: number;
  readonly decisions: readonly Checkpoint[];
  /** Lower and upper end of the vertical axis. */
  readonly range: readonly [number, number];
  readonly label: string;
}

/** Held-out score over rounds as a step line with its 95% band; decisions stand below as ticks. */
export function Spark({ points, rounds, decisions, range, label }: SparkProps) {
  const x = (round: number): number => inset + (round / Math.max(1, rounds)) * (width - 2 * inset);
  const y = (value: number): number => {
    const [low, high] = range;
    return inset + (1 - (Math.min(high, Math.max(low, value)) - low) / (high - low)) * (height - 2 * inset - 8);
  };
  const line = points.map((point) => `${x(point.round).toFixed(1)},${y(point.heldOut.greedy.value).toFixed(1)}`);
  const upper = points.map((point) => `${x(point.round).toFixed(1)},${y(point.heldOut.greedy.ci[1]).toFixed(1)}`);
  const lower = points.map((point) => `${x(point.round).toFixed(1)},${y(point.heldOut.greedy.ci[0]).toFixed(1)}`);
  const last = points.at(-1);
  const first = points[0];
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label} preserveAspectRatio="none">
      {first && (
        <line
          x1={inset}
          x2={width - inset}
          y1={y(first.heldOut.greedy.value)}
          y2={y(first.heldOut.greedy.value)}
          class="spark-base"
        />
      )}
      <polygon points={[...upper, ...lower.reverse()].join(" ")} class="spark-band" />
      <polyline points={line.join(" ")} class="spark-line" />
      {last && <path d={`M${x(last.round)} ${y(last.heldOut.greedy.value)}h0`} class="spark-dot" />}
      {decisions.map((decision) => (
        <DecisionTick key={decision.at} kind={decision.kind} x={x(decision.round)} y={height - 6} />
      ))}
    </svg>
  );
}

/** A decision as a shape, so that colour is not needed: bar accepted, cross rejected, ring deferred. */
export function DecisionTick({
  kind,
  x,
  y,
}: {
  readonly kind: Checkpoint["kind"];
  readonly x: number;
  readonly y: number;
}) {
  if (kind === "rejected") return <path d={`M${x - 3} ${y - 3}l6 6m0-6l-6 6`} class="tick tick-rejected" />;
  if (kind === "deferred") return <circle cx={x} cy={y} r="2.5" class="tick tick-deferred" />;
  if (kind === "accepted") return <path d={`M${x} ${y - 3.5}v7`} class="tick tick-accepted" />;
  return null;
}
