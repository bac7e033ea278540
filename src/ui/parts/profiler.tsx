import { useEffect, useRef, useState } from "preact/hooks";
import type { PlanSpan } from "../../base/spans.ts";
import { type Block, blockKinds, flame, kernelTimes, neighbour, recordedTime, visible } from "../charts/flame.ts";
import { useApp } from "../context.ts";
import { t } from "../strings/index.ts";
import "../styles/profiler.css";

const width = 1000;
const row = 30;
const refreshMs = 1000;

/** Developer panel: records the plans of a live run, draws them as a flame chart and adds up their kernels. */
export function Profiler() {
  const app = useApp();
  const s = t().profiler;
  const recording = app.tracing.value;
  const [opened] = useState(recording);
  const [spans, setSpans] = useState<readonly PlanSpan[]>([]);
  const live = app.live.value !== null;

  useEffect(() => {
    if (!recording) return;
    const look = async (): Promise<void> => setSpans(await (await app.connect()).spans());
    void look(); // recorded while another section of the page was on show
    const timer = setInterval(() => void look(), refreshMs);
    return () => clearInterval(timer);
  }, [recording, app]);

  const toggle = async (): Promise<void> => {
    const result = await app.trace(!recording);
    if (result.ok) setSpans(recording ? await (await app.connect()).spans() : []);
  };

  return (
    <details class="profiler" open={opened}>
      <summary>{s.title}</summary>
      <p class="quiet">{s.about}</p>
      <div class="actions">
        <button type="button" class="button" disabled={!live && !recording} onClick={() => void toggle()}>
          {recording ? s.stop : s.record}
        </button>
      </div>
      {!live && <p class="quiet">{s.noRun}</p>}
      {recording && spans.length === 0 && <p class="quiet">{s.empty}</p>}
      {spans.length > 0 && spans.every(({ kernels }) => kernels.length === 0) && <p class="quiet">{s.noKernels}</p>}
      {spans.length > 0 && (
        <>
          <Flame blocks={flame(app.session.value?.events.value ?? [], spans)} whole={recordedTime(spans)} />
          <Kernels spans={spans} />
        </>
      )}
    </details>
  );
}

/** All kernels of the recording, by time. */
function Kernels({ spans }: { readonly spans: readonly PlanSpan[] }) {
  const s = t().profiler;
  const rows = kernelTimes(spans);
  if (rows.length === 0) return null;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
    <section class="kernels" aria-label={s.kernels} tabIndex={0}>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">{s.kernel}</th>
            <th scope="col">{s.dispatches}</th>
            <th scope="col">{s.time}</th>
            <th scope="col">{s.share}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.name}>
              <th scope="row">{row.name}</th>
              <td>{row.count}</td>
              <td>{s.ms(row.ms)}</td>
              <td>{s.percent(row.share)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** The chart: one tab stop, arrow keys inside, Enter zooms to the block, Escape back to everything. */
function Flame({ blocks, whole }: { readonly blocks: readonly Block[]; readonly whole: readonly [number, number] }) {
  const s = t().profiler;
  const svg = useRef<SVGSVGElement>(null);
  const [zoom, setZoom] = useState<readonly [number, number] | null>(null);
  const [current, setCurrent] = useState<Block | null>(null);
  const [from, to] = zoom ?? whole;
  const shown = visible(blocks, from, to, width);
  const chosen = shown.find(({ id }) => id === current?.id) ?? shown[0];

  const choose = (block: Block): void => {
    setCurrent(block);
    svg.current?.querySelector<SVGElement>(`[data-block="${block.id}"]`)?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (!chosen) return;
    const { key } = event;
    if (key === "Enter") setZoom([chosen.start, chosen.end]);
    else if (key === "Escape") setZoom(null);
    else if (key === "ArrowUp" || key === "ArrowDown" || key === "ArrowLeft" || key === "ArrowRight")
      choose(neighbour(shown, chosen, key));
    else return;
    event.preventDefault();
  };
  const x = (time: number): number => ((Math.min(to, Math.max(from, time)) - from) / (to - from)) * width;

  return (
    <figure>
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be SVG */}
      <svg
        ref={svg}
        class="flame"
        viewBox={`0 0 ${width} ${blockKinds.length * row}`}
        preserveAspectRatio="none"
        role="group"
        aria-label={s.chart}
        onKeyDown={onKeyDown}
      >
        {shown.map((block) => (
          // biome-ignore lint/a11y/useSemanticElements: SVG has no button of its own
          <rect
            key={block.id}
            data-block={block.id}
            class={block.id === chosen?.id ? `${block.kind} current` : block.kind}
            x={x(block.start)}
            y={blockKinds.indexOf(block.kind) * row}
            width={Math.max(1, x(block.end) - x(block.start))}
            height={row}
            role="button"
            tabIndex={block.id === chosen?.id ? 0 : -1}
            aria-label={s.block(block)}
            onFocus={() => setCurrent(block)}
            onClick={() => choose(block)}
            onDblClick={() => setZoom([block.start, block.end])}
          />
        ))}
      </svg>
      <figcaption>
        <p class="flame-keys quiet">
          {blockKinds.map((kind) => (
            <span key={kind} class={kind}>
              {s.kinds[kind]}
            </span>
          ))}
        </p>
        <p aria-live="polite">{chosen ? s.block(chosen) : ""}</p>
        <p class="quiet">
          {s.keys}{" "}
          {zoom && (
            <button type="button" class="button" onClick={() => setZoom(null)}>
              {s.whole}
            </button>
          )}
        </p>
      </figcaption>
    </figure>
  );
}
