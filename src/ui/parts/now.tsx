import type { FilterReason, FilterVerdict, JudgedCandidate, JudgedTask, JudgeName } from "../../base/records.ts";
import { decode } from "../../world/vocabulary.ts";
import { useApp } from "../context.ts";
import { number } from "../format.ts";
import type { LoopModel } from "../model.ts";
import { t } from "../strings/index.ts";
import { judgesOf } from "./judges.ts";
import { PictureView } from "./picture.tsx";
import { Said } from "./said.tsx";

/** Rows shown before "show all". */
const briefly = 6;

/** The picture on show: what the model sees, is asked and answers, each answer redrawn beside the judges' votes. */
export function Now() {
  const app = useApp();
  const s = t().now;
  const model = app.model.value;
  const session = app.session.value;
  const preview = session?.following.value ? session.progress.value?.preview : undefined;
  const tasks = tasksOnShow(model, preview);
  const index = Math.min(app.taskIndex.value, Math.max(0, tasks.length - 1));
  const shown = tasks[index];
  // A picture that is being answered right now shows its first answers before they are committed.
  const judged =
    shown && preview && preview.task.id === shown.task.id && shown.candidates.length === 0 ? preview : shown;
  return (
    <section class="now" aria-labelledby="now-title">
      <div class="section-head">
        <h2 id="now-title" class="eyebrow">
          {s.title}
        </h2>
        {tasks.length > 1 && <Pager index={index} total={tasks.length} />}
      </div>
      {judged ? (
        // A new picture is a new block: nothing that was there moves.
        <Shown key={judged.task.id} judged={judged} model={model} />
      ) : (
        <p class="quiet empty">{emptyWords(model, session?.status.value === "loading")}</p>
      )}
    </section>
  );
}

function emptyWords(model: LoopModel, loading: boolean): string {
  const s = t().now;
  if (loading) return s.loading;
  return model.facts.proposed ? s.noPreview : s.waiting;
}

/** Pictures of the newest round; the one being answered right now if its round is not committed yet. */
function tasksOnShow(model: LoopModel, preview: JudgedTask | undefined): readonly JudgedTask[] {
  const committed = model.tasks[0]?.task.round ?? -1;
  return preview && preview.task.round > committed ? [preview] : model.tasks;
}

function Pager({ index, total }: { readonly index: number; readonly total: number }) {
  const app = useApp();
  const s = t().now;
  const go = (step: number): void => {
    app.taskIndex.value = (index + step + total) % total;
  };
  return (
    <div class="pager">
      <button type="button" class="tool small" aria-label={s.previous} title={s.previous} onClick={() => go(-1)}>
        ‹
      </button>
      <span>{s.picture(index + 1, total)}</span>
      <button type="button" class="tool small" aria-label={s.next} title={s.next} onClick={() => go(1)}>
        ›
      </button>
    </div>
  );
}

function Shown({ judged, model }: { readonly judged: JudgedTask; readonly model: LoopModel }) {
  const s = t();
  const { task } = judged;
  const verdict = model.verdicts[task.id];
  const world = model.run?.contour.world ?? "B";
  return (
    <div class="now-body">
      <div class="seen">
        <PictureView picture={task.picture} label={s.now.seenLabel(s.held.world[world].name)} size="xl" />
        <p class="seen-caption">{s.now.seen}</p>
        <p class="prompt">
          <span class="quiet">{s.now.asks}</span> {decode(task.prompt)}
        </p>
        <p class="verdict-line">
          {verdict?.kind === "kept" && s.now.pair(number(verdict.margin))}
          {verdict?.kind === "dropped" &&
            s.now.dropped(s.loop.droppedBecause[verdict.reason as FilterReason] ?? verdict.detail)}
        </p>
      </div>
      <Candidates judged={judged} verdict={verdict} />
    </div>
  );
}

function Candidates({ judged, verdict }: { readonly judged: JudgedTask; readonly verdict: FilterVerdict | undefined }) {
  const app = useApp();
  const all = app.allAnswers.value;
  const s = t().now;
  const { candidates } = judged;
  if (candidates.length === 0) return <p class="quiet empty">{s.waiting}</p>;
  const judges = judgesOf(candidates);
  const order = ranked(candidates, verdict, judges[0]);
  const rows = all ? order : brief(order);
  return (
    <div class="candidates">
      <ul key={verdict?.kind ?? "open"} aria-label={s.samples}>
        {rows.map((index) => (
          <Row
            key={index}
            candidate={candidates[index] as JudgedCandidate}
            role={roleOf(index, verdict)}
            judges={judges}
            candidates={candidates}
          />
        ))}
      </ul>
      {order.length > briefly && (
        <button
          type="button"
          class="link"
          aria-expanded={all}
          onClick={() => {
            app.allAnswers.value = !all;
          }}
        >
          {all ? s.fewer : s.more(order.length)}
        </button>
      )}
    </div>
  );
}

type Role = "chosen" | "rejected" | null;

function roleOf(index: number, verdict: FilterVerdict | undefined): Role {
  if (verdict?.kind !== "kept") return null;
  return index === verdict.chosen ? "chosen" : index === verdict.rejected ? "rejected" : null;
}

/** Indices with the chosen answer first, the rejected one last, and the first judge's order between them. */
function ranked(
  candidates: readonly JudgedCandidate[],
  verdict: FilterVerdict | undefined,
  judge: JudgeName | undefined,
): readonly number[] {
  const place = (index: number): number => {
    const role = roleOf(index, verdict);
    if (role === "chosen") return Number.POSITIVE_INFINITY;
    if (role === "rejected") return Number.NEGATIVE_INFINITY;
    return (judge && candidates[index]?.scores[judge]) ?? 0;
  };
  return candidates.map((_, index) => index).sort((a, b) => place(b) - place(a) || a - b);
}

/** The best, the worst and some between, evenly. */
function brief(order: readonly number[]): readonly number[] {
  if (order.length <= briefly) return order;
  const last = order.length - 1;
  return Array.from({ length: briefly }, (_, row) => order[Math.round((row * last) / (briefly - 1))] as number);
}

interface RowProps {
  readonly candidate: JudgedCandidate;
  readonly role: Role;
  readonly judges: readonly JudgeName[];
  readonly candidates: readonly JudgedCandidate[];
}

function Row({ candidate, role, judges, candidates }: RowProps) {
  const s = t().now;
  return (
    <li class={`candidate ${role ? `is-${role}` : ""}`}>
      <PictureView picture={candidate.redrawn} label={candidate.redrawn ? "" : s.unparsable} size="m" />
      <div>
        <div class="candidate-words">
          {role && (
            <span class="role">
              {role === "chosen" ? "✓" : "✗"} {s[role]}
            </span>
          )}
          <Said text={candidate.text} />
        </div>
        <dl class="votes">
          {judges.map((judge) => (
            <div key={judge} title={s.judgeAbout[judge]}>
              <dt>{s.judgeName[judge] ?? judge}</dt>
              <Vote score={candidate.scores[judge]} all={candidates.map((other) => other.scores[judge])} />
            </div>
          ))}
        </dl>
      </div>
    </li>
  );
}

/** A score with a bar for its place between the worst and the best answer of this picture. */
function Vote({ score, all }: { readonly score: number | undefined; readonly all: readonly (number | undefined)[] }) {
  if (score === undefined) return <dd>–</dd>;
  const known = all.filter((value) => value !== undefined);
  const low = Math.min(...known);
  const high = Math.max(...known);
  const place = high > low ? (score - low) / (high - low) : 1;
  return (
    <dd>
      {number(score)}
      <svg class="vote-bar" viewBox="0 0 40 4" preserveAspectRatio="none" aria-hidden="true">
        <rect width="40" height="4" class="vote-track" />
        <rect width={Math.max(1, 40 * place)} height="4" class="vote-fill" />
      </svg>
    </dd>
  );
}
