import { useRef, useState } from "preact/hooks";
import type { Answer } from "../../worker/api.ts";
import type { Question } from "../../world/questions.ts";
import { type Look, OBJECTS } from "../../world/scene.ts";
import { COLOURS, COLUMNS, SHAPES } from "../../world/vocabulary.ts";
import { useApp } from "../context.ts";
import { PictureView } from "../parts/picture.tsx";
import { Said, Shape } from "../parts/said.tsx";
import { failure } from "../session.ts";
import { t } from "../strings/index.ts";
import {
  allLooks,
  type Cells,
  columnOf,
  lookName,
  noCells,
  pictureOf,
  rowOf,
  sceneOf,
  surprise,
  wordsOf,
} from "./drawing.ts";

interface Asked {
  readonly picture: ReturnType<typeof pictureOf>;
  readonly question: string;
  readonly truth: string;
  readonly base: Answer;
  readonly improved: Answer;
}

/** The one question about pictures that the bundled model has learnt. */
const QUESTION: Question = { kind: "describe" };

/** Paint a scene, ask base and improved about it, and correct them: the correction becomes a preference pair. */
export default function Draw() {
  const app = useApp();
  const s = t().draw;
  const [cells, setCells] = useState<Cells>(() => surprise(3));
  const [brush, setBrush] = useState<Look | null>(allLooks[0] as Look);
  const [dim, setDim] = useState(true);
  const [seed, setSeed] = useState(3);
  const [asked, setAsked] = useState<Asked | null>(null);
  const [asking, setAsking] = useState(false);
  const scene = sceneOf(cells);
  const picture = pictureOf(scene, { dim, seed });
  const words = wordsOf(QUESTION, scene);

  const draw = (next: Cells): void => {
    setCells(next);
    setAsked(null);
  };
  const ask = async (): Promise<void> => {
    setAsking(true);
    const client = await app.connect();
    const result = await app.report(client.ask({ picture, question: words.question }));
    setAsking(false);
    if (result.ok) setAsked({ picture, ...words, ...result.value });
  };

  return (
    <section class="panel draw" aria-labelledby="draw-title">
      <h1 id="draw-title">{s.title}</h1>
      <p class="lead">{s.about}</p>
      <div class="draw-body">
        <div class="easel">
          <div class="canvas-grid">
            <PictureView
              picture={picture}
              label={s.pictureLabel(words.truth || scene.map(lookName).join(", "))}
              size="l"
            />
            <Grid cells={cells} onPlace={(cell) => draw(cells.map((look, index) => (index === cell ? brush : look)))} />
          </div>
          <div class="easel-actions">
            <button type="button" class="button" onClick={() => draw(noCells)}>
              {s.clear}
            </button>
            <button
              type="button"
              class="button"
              onClick={() => {
                setSeed(seed + 1);
                draw(surprise(seed + 1));
              }}
            >
              {s.random}
            </button>
          </div>
        </div>
        <div class="draw-form">
          <Palette brush={brush} onPick={setBrush} />
          <fieldset>
            <legend>{s.look}</legend>
            {[true, false].map((value) => (
              <label key={String(value)} class="choice">
                <input
                  type="radio"
                  name="look"
                  checked={dim === value}
                  onChange={() => {
                    setDim(value);
                    setAsked(null);
                  }}
                />
                {value ? s.lookDim : s.lookClean}
              </label>
            ))}
          </fieldset>
          <div class="draw-ask">
            <button
              type="button"
              class="button primary"
              disabled={asking || scene.length === 0 || !app.canTrain.value}
              onClick={() => void ask()}
            >
              {asking ? s.asking : s.ask}
            </button>
            {scene.length === 0 && <p class="quiet">{s.emptyScene}</p>}
            {scene.length > OBJECTS.B.max && <p class="quiet">{s.full}</p>}
            {app.capabilities.value?.kind === "unavailable" && <p class="quiet">{s.needsGpu}</p>}
          </div>
        </div>
      </div>
      <div aria-live="polite">{asked && <Answers asked={asked} />}</div>
    </section>
  );
}

function Palette({ brush, onPick }: { readonly brush: Look | null; readonly onPick: (look: Look | null) => void }) {
  const s = t().draw;
  return (
    <fieldset>
      <legend>{s.palette}</legend>
      <div class="palette">
        {allLooks.map((look) => (
          <label key={lookName(look)} class="swatch" title={lookName(look)}>
            <input
              type="radio"
              name="brush"
              checked={brush === look}
              onChange={() => onPick(look)}
              aria-label={lookName(look)}
            />
            <Shape colour={COLOURS[look.colour] as string} shape={SHAPES[look.shape] as string} />
          </label>
        ))}
        <label class="swatch swatch-erase">
          <input type="radio" name="brush" checked={brush === null} onChange={() => onPick(null)} />
          <span>{s.erase}</span>
        </label>
      </div>
    </fieldset>
  );
}

/** Transparent buttons over the picture; one of them is in the tab order, arrow keys move. */
function Grid({ cells, onPlace }: { readonly cells: Cells; readonly onPlace: (cell: number) => void }) {
  const s = t().draw;
  const [current, setCurrent] = useState(0);
  const host = useRef<HTMLFieldSetElement>(null);
  const move = (event: KeyboardEvent): void => {
    const steps: Record<string, readonly [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const size = COLUMNS.length;
    const column = (current % size) + step[0];
    const row = Math.floor(current / size) + step[1];
    if (column < 0 || column >= size || row < 0 || row >= cells.length / size) return;
    const next = row * size + column;
    setCurrent(next);
    host.current?.querySelectorAll<HTMLButtonElement>("button")[next]?.focus();
  };
  return (
    <fieldset class="cells" aria-label={s.grid} ref={host}>
      {cells.map((look, cell) => (
        <button
          key={cell}
          type="button"
          tabIndex={cell === current ? 0 : -1}
          aria-label={s.cell(columnOf(cell), rowOf(cell), look ? lookName(look) : s.emptyCell)}
          onFocus={() => setCurrent(cell)}
          onKeyDown={move}
          onClick={() => onPlace(cell)}
        />
      ))}
    </fieldset>
  );
}

/** Same words in any order of objects are the same description, so right means the same set. */
function isRight(answer: Answer, truth: string): boolean {
  const objects = (text: string): string => (text.match(/\S+ \S+ [a-d] [1-4]/g) ?? [text]).sort().join(",");
  return objects(answer.text) === objects(truth) && answer.text.split(" ").length === truth.split(" ").length;
}

function Answers({ asked }: { readonly asked: Asked }) {
  const app = useApp();
  const s = t().draw;
  const [taught, setTaught] = useState<string | null>(null);
  const [storing, setStoring] = useState(false);
  const { base, improved, truth, picture } = asked;
  const wrong = [improved, base].find((answer) => !isRight(answer, truth)) ?? null;
  const hasRun = app.live.value?.run.value !== undefined && app.live.value?.run.value !== null;

  const teach = async (): Promise<void> => {
    if (!wrong) return;
    setStoring(true);
    const client = await app.connect();
    const call = hasRun
      ? client.correct({ picture, question: asked.question, chosen: truth, rejected: wrong.text })
      : Promise.resolve(failure("no-run", s.needsRun));
    const result = await app.report(call);
    setStoring(false);
    if (result.ok) setTaught(result.value.pair);
  };

  return (
    <div class="answers">
      <div class="answer-card">
        <h2 class="eyebrow">{s.truth}</h2>
        <PictureView picture={picture} label="" size="l" />
        <Said text={truth} />
      </div>
      {(
        [
          ["base", base],
          ["improved", improved],
        ] as const
      ).map(([name, answer]) => (
        <div key={name} class={`answer-card ${isRight(answer, truth) ? "is-right" : "is-wrong"}`}>
          <h2 class="eyebrow">
            {s[name]} {s.says}
          </h2>
          <PictureView
            picture={answer.redrawn}
            label={answer.redrawn ? t().now.redrawnLabel(answer.text) : t().now.unparsable}
            size="l"
          />
          <Said text={answer.text} />
          <p class="grade">{isRight(answer, truth) ? `✓ ${s.right}` : `✗ ${s.wrong}`}</p>
        </div>
      ))}
      <div class="answers-foot">
        {base.adapter === improved.adapter && <p class="quiet">{s.same}</p>}
        {taught ? (
          <p class="grade">✓ {s.taught(taught.slice(0, 8))}</p>
        ) : wrong ? (
          <>
            <button type="button" class="button" disabled={storing || !hasRun} onClick={() => void teach()}>
              {storing ? s.teaching : s.teach}
            </button>
            {!hasRun && <p class="quiet">{s.needsRun}</p>}
          </>
        ) : (
          <p class="quiet">{s.nothingToTeach}</p>
        )}
      </div>
    </div>
  );
}
