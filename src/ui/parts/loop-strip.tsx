import { useApp } from "../context.ts";
import { count, number } from "../format.ts";
import { type LoopModel, type Stage, stages } from "../model.ts";
import { t } from "../strings/index.ts";
import { StageInspector } from "./stage-inspector.tsx";

/** The seven stages with what each said in this round; a click opens one below. */
export function LoopStrip() {
  const app = useApp();
  const s = t().loop;
  const model = app.model.value;
  const progress = app.session.value?.progress.value ?? null;
  const active: Stage | null = progress ? (progress.stage === "evaluate" ? "gate" : progress.stage) : model.stage;
  const open = app.openStage.value;
  return (
    <section class="loop" aria-labelledby="loop-title">
      <h2 id="loop-title" class="eyebrow">
        {s.title}
      </h2>
      <ol class="stages">
        {stages.map((stage, index) => (
          <li key={stage} class={`stage ${stage === active ? "active" : ""} ${isDone(model, stage) ? "done" : ""}`}>
            <button
              type="button"
              aria-expanded={open === stage}
              aria-controls="stage-inspector"
              aria-current={stage === active ? "step" : undefined}
              title={s.about[stage]}
              onClick={() => {
                app.openStage.value = open === stage ? null : stage;
              }}
            >
              <span class="stage-number" aria-hidden="true">
                {index + 1}
              </span>
              <span class="stage-name">{s.stage[stage]}</span>
              <span class="stage-fact">{factOf(model, stage)}</span>
              {progress && stage === active && (
                <progress
                  class="stage-progress"
                  value={progress.done}
                  max={Math.max(1, progress.total)}
                  aria-label={s.progress(s.stage[stage], progress.done, progress.total)}
                />
              )}
            </button>
          </li>
        ))}
      </ol>
      <p class="loop-back">
        <span>{s.back}</span>
      </p>
      <div id="stage-inspector">{open && <StageInspector stage={open} />}</div>
    </section>
  );
}

function isDone(model: LoopModel, stage: Stage): boolean {
  const { facts } = model;
  const said = {
    propose: facts.proposed,
    sample: facts.sampled,
    judge: facts.judged,
    filter: facts.filtered,
    pair: facts.paired,
    train: facts.trained,
    gate: null,
  };
  return said[stage] !== null;
}

function factOf(model: LoopModel, stage: Stage): string {
  const s = t().loop.fact;
  const { facts, counts } = model;
  switch (stage) {
    case "propose":
      return facts.proposed ? s.propose(count(facts.proposed.tasks)) : s.none;
    case "sample":
      return facts.sampled ? s.sample(count(facts.sampled.candidates)) : s.none;
    case "judge": {
      const agreement = Object.values(facts.judged?.agreement ?? {});
      const mean = agreement.reduce((sum, value) => sum + value, 0) / agreement.length;
      return agreement.length > 0 ? s.judge(Math.round(mean * 100).toString()) : s.none;
    }
    case "filter": {
      if (!facts.filtered) return s.none;
      const dropped = Object.values(facts.filtered.dropped).reduce((sum, value) => sum + value, 0);
      return s.filter(count(facts.filtered.kept), count(dropped));
    }
    case "pair":
      return facts.paired ? s.pair(count(facts.paired.pairs)) : s.none;
    case "train":
      if (!facts.trained) return s.none;
      if (facts.trained.kind !== "trained") return s[facts.trained.kind];
      return s.train(number(facts.trained.last?.["rewards/margins"] ?? 0));
    case "gate":
      return s.gate(counts.accepted, counts.rejected);
  }
}
