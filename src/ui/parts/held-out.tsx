import type { WorldName } from "../../base/records.ts";
import { useApp } from "../context.ts";
import { count, points, share, short } from "../format.ts";
import { heldOutSpan } from "../model.ts";
import type { Session } from "../session.ts";
import { t } from "../strings/index.ts";
import { Spark } from "./spark.tsx";

/** The strip that answers "is it getting better?": both worlds with interval and n, and what the gate let through. */
export function HeldOutStrip() {
  const app = useApp();
  const model = app.model.value;
  const s = t().held;
  return (
    <section class="held" aria-label={s.title}>
      <WorldScore world="B" />
      <WorldScore world="A" />
      <div class="held-decisions">
        <h2 class="eyebrow">{s.decisions}</h2>
        <ul class="tally">
          <li class="accepted">
            <b>{model.counts.accepted}</b> <span aria-hidden="true">✓</span> {s.accepted}
          </li>
          <li class="rejected">
            <b>{model.counts.rejected}</b> <span aria-hidden="true">✗</span> {s.rejected}
          </li>
          <li class="deferred">
            <b>{model.counts.deferred}</b> <span aria-hidden="true">○</span> {s.deferred}
          </li>
        </ul>
        <p class="quiet">
          {model.run ? s.round(model.round, model.rounds) : s.noRound} · {s.incumbent(short(model.incumbent))}
        </p>
        <p class="quiet">{s.labels(count(model.labelledItems))}</p>
      </div>
    </section>
  );
}

function WorldScore({ world }: { readonly world: WorldName }) {
  const app = useApp();
  const model = app.model.value;
  const s = t().held;
  const span = heldOutSpan(model, world);
  const history = model.heldOut.filter((point) => point.world === world);
  const last = span?.last.heldOut;
  const change = span ? span.last.heldOut.greedy.value - span.first.heldOut.greedy.value : 0;
  const separate =
    span !== null &&
    (span.last.heldOut.greedy.ci[0] > span.first.heldOut.greedy.ci[1] ||
      span.last.heldOut.greedy.ci[1] < span.first.heldOut.greedy.ci[0]);
  return (
    <div class={`world world-${world.toLowerCase()}`}>
      <h2 class="eyebrow">
        {s.title} · {s.world[world].name} <span class="quiet">{s.world[world].role}</span>
      </h2>
      <div class="world-body">
        <div class="world-numbers">
          {span && last ? (
            <>
              <p class="figure">
                <span class="figure-from">{share(span.first.heldOut.greedy.value)}</span>
                <span class="figure-arrow" aria-hidden="true">
                  →
                </span>
                <span class="figure-to">{share(last.greedy.value)}</span>
                {history.length > 1 && <span class="figure-change">{s.gain(points(change, 0))}</span>}
              </p>
              <p class="quiet">
                {s.n(count(last.n))}, {s.interval(share(last.greedy.ci[0]), share(last.greedy.ci[1]))}
                <br />
                {s.greedy}; {s.sampled(share(last.sampled.value))}
                {history.length > 1 && !separate && world === "B" && `; ${s.noGain}`}
              </p>
            </>
          ) : (
            <p class="figure figure-none">{s.none}</p>
          )}
        </div>
        <Spark
          points={history}
          rounds={Math.max(model.rounds, model.round)}
          decisions={world === "B" ? model.checkpoints : []}
          range={rangeOf(app.session.value, world)}
          label={s.spark(
            s.world[world].name,
            history.map((point) => share(point.heldOut.greedy.value)).join(", ") || s.none,
          )}
        />
      </div>
    </div>
  );
}

/** Ends of a world's vertical axis: what the whole log needs, at least 12 points high, so that the scale stands still. */
function rangeOf(session: Session | null, world: WorldName): readonly [number, number] {
  const points =
    session?.timeline.at(session.events.value.length).heldOut.filter((point) => point.world === world) ?? [];
  if (points.length === 0) return [0, 1];
  const low = Math.max(0, Math.min(...points.map((point) => point.heldOut.greedy.ci[0])) - 0.02);
  const high = Math.min(1, Math.max(...points.map((point) => point.heldOut.greedy.ci[1])) + 0.02);
  return [Math.min(low, high - 0.12), high];
}
