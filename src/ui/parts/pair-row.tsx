import type { ComponentChildren } from "preact";
import { number } from "../format.ts";
import type { PairView } from "../model.ts";
import { t } from "../strings/index.ts";
import { judgesOf } from "./judges.ts";
import { PictureView } from "./picture.tsx";
import { Said } from "./said.tsx";

interface PairRowProps {
  readonly pair: PairView;
  /** Where the pair is from and what became of it. */
  readonly where?: string;
  /** What can be done with it. */
  readonly children?: ComponentChildren;
}

/** One preference pair: the picture that was seen, the answer preferred and the answer refused, each redrawn. */
export function PairRow({ pair, where, children }: PairRowProps) {
  const s = t();
  const votes = judgesOf([pair.chosen, pair.rejected]);
  return (
    <li class="pair">
      <figure>
        <PictureView picture={pair.task.picture} label={s.now.seen} size="m" />
        <figcaption>{s.now.seen}</figcaption>
      </figure>
      <figure class="is-chosen">
        <PictureView picture={pair.chosen.redrawn} label={s.now.redrawnLabel(pair.chosen.text)} size="m" />
        <figcaption>✓ {s.now.chosen}</figcaption>
      </figure>
      <figure class="is-rejected">
        <PictureView
          picture={pair.rejected.redrawn}
          label={pair.rejected.redrawn ? s.now.redrawnLabel(pair.rejected.text) : s.now.unparsable}
          size="m"
        />
        <figcaption>✗ {s.now.rejected}</figcaption>
      </figure>
      <div class="pair-text">
        <Said text={pair.chosen.text} class="is-chosen" />
        <Said text={pair.rejected.text} class="is-rejected" />
        <p class="quiet">
          {s.why.pairMargin(number(pair.margin), pair.round)}
          {votes.map(
            (judge) =>
              ` · ${s.now.judgeName[judge] ?? judge} ${number(pair.chosen.scores[judge] ?? Number.NaN)} / ${number(pair.rejected.scores[judge] ?? Number.NaN)}`,
          )}
        </p>
        {where !== undefined && <p class="quiet">{where}</p>}
        {children}
      </div>
    </li>
  );
}
