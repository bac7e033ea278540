import type { PairView } from "../model.ts";
import { number } from "../format.ts";
import { t } from "../strings/index.ts";
import { PictureView } from "./picture.tsx";

/** One preference pair: the picture that was seen, the answer preferred and the answer refused, each redrawn. */
export function PairRow({ pair }: { readonly pair: PairView }) {
  const s = t();
  const votes = Object.keys(pair.chosen.scores) as (keyof typeof pair.chosen.scores)[];
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
        <PictureView picture={pair.rejected.redrawn} label={pair.rejected.redrawn ? s.now.redrawnLabel(pair.rejected.text) : s.now.unparsable} size="m" />
        <figcaption>✗ {s.now.rejected}</figcaption>
      </figure>
      <div class="pair-text">
        <p class="said is-chosen">{pair.chosen.text || s.now.empty}</p>
        <p class="said is-rejected">{pair.rejected.text || s.now.empty}</p>
        <p class="quiet">
          {s.why.pairMargin(number(pair.margin), pair.round)}
          {votes.map((judge) => ` · ${s.now.judgeName[judge] ?? judge} ${number(pair.chosen.scores[judge] ?? Number.NaN)} / ${number(pair.rejected.scores[judge] ?? Number.NaN)}`)}
        </p>
      </div>
    </li>
  );
}
