import { t } from "../strings/index.ts";

/** How the loop works and where its limits are, in plain words. */
export default function Explain() {
  const s = t();
  return (
    <article class="panel explain" aria-labelledby="explain-title">
      <h1 id="explain-title">{s.explain.title}</h1>
      {s.explain.sections.map((section) => (
        <section key={section.title}>
          <h2>{section.title}</h2>
          {section.text.map((paragraph) => (
            <p key={paragraph}>{paragraph}</p>
          ))}
        </section>
      ))}
      <p class="quiet">{s.time.keys}</p>
    </article>
  );
}
