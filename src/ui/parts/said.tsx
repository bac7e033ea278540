import { SHAPES } from "../../world/vocabulary.ts";
import { t } from "../strings/index.ts";

const objectWords = /^(red|green|blue|yellow) (circle|square|triangle) [a-d] [1-4]$/;

/** Words of an answer. Objects of a description stay in one piece, each behind a small likeness. */
export function Said({ text, class: extra = "" }: { readonly text: string; readonly class?: string }) {
  return (
    <p class={`said ${extra}`}>
      {text === ""
        ? t().now.empty
        : groups(text).map((group, index) => (
            <span key={index} class="said-object">
              {objectWords.test(group) && (
                <Shape colour={group.split(" ")[0] as string} shape={group.split(" ")[1] as string} />
              )}
              {group}{" "}
            </span>
          ))}
    </p>
  );
}

/** Four words an object where they make sense, single words elsewhere. */
function groups(text: string): readonly string[] {
  const words = text.split(" ");
  const out: string[] = [];
  for (let at = 0; at < words.length; ) {
    const four = words.slice(at, at + 4).join(" ");
    const size = objectWords.test(four) ? 4 : 1;
    out.push(words.slice(at, at + size).join(" "));
    at += size;
  }
  return out;
}

/** A shape of the world in its colour, by their words. */
export function Shape({ colour, shape }: { readonly colour: string; readonly shape: string }) {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" class={`look look-${colour}`}>
      {shape === SHAPES[0] && <circle cx="8" cy="8" r="5.8" />}
      {shape === SHAPES[1] && <rect x="2" y="2" width="12" height="12" />}
      {shape === SHAPES[2] && <path d="M8 2l6 12H2z" />}
    </svg>
  );
}
