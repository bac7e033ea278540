import { useState } from "preact/hooks";
import type { JudgeRule } from "../../base/contour.ts";
import { useApp } from "../context.ts";
import { Profiler } from "../parts/profiler.tsx";
import { judgeRules, type Theme, validRounds, validSeed } from "../settings.ts";
import { t } from "../strings/index.ts";

/** What the next run is made of; kept on this machine. */
export default function SettingsPanel() {
  const app = useApp();
  const s = t().settings;
  const settings = app.settings.value;
  const [rounds, setRounds] = useState(String(settings.rounds));
  const [seed, setSeed] = useState(String(settings.seed));
  const valid = validRounds(Number(rounds)) && validSeed(Number(seed)) && rounds.trim() !== "" && seed.trim() !== "";
  const training = app.training.value;

  const submit = (event: Event): void => {
    event.preventDefault();
    if (valid && app.canTrain.value && !training) void app.goLive();
  };
  const gentle = async (value: boolean): Promise<void> => {
    app.change({ gentle: value });
    if (training) await app.report((await app.connect()).setGentle(value));
  };

  return (
    <section class="panel settings" aria-labelledby="settings-title">
      <h1 id="settings-title">{s.title}</h1>
      <p class="lead">{s.about}</p>
      <form onSubmit={submit}>
        <GpuChoiceField />
        <div class="field">
          <label for="rounds">{s.rounds}</label>
          <input
            id="rounds"
            type="number"
            min={1}
            max={500}
            required
            value={rounds}
            aria-describedby="rounds-hint"
            onInput={(event) => {
              setRounds(event.currentTarget.value);
              if (validRounds(event.currentTarget.valueAsNumber))
                app.change({ rounds: event.currentTarget.valueAsNumber });
            }}
          />
          <p id="rounds-hint" class="quiet">
            {s.roundsHint}
          </p>
        </div>
        <div class="field">
          <label for="seed">{s.seed}</label>
          <input
            id="seed"
            type="number"
            min={0}
            max={4294967295}
            required
            value={seed}
            aria-describedby="seed-hint"
            onInput={(event) => {
              setSeed(event.currentTarget.value);
              if (validSeed(event.currentTarget.valueAsNumber)) app.change({ seed: event.currentTarget.valueAsNumber });
            }}
          />
          <p id="seed-hint" class="quiet">
            {s.seedHint}
          </p>
        </div>
        <div class="field">
          <label for="judge">{s.judge}</label>
          <select
            id="judge"
            value={settings.judge}
            onChange={(event) => app.change({ judge: event.currentTarget.value as JudgeRule })}
          >
            {judgeRules.map((rule) => (
              <option key={rule} value={rule}>
                {s.judgeRule[rule]}
              </option>
            ))}
          </select>
        </div>
        <fieldset class="field">
          <legend>{s.gate}</legend>
          {[true, false].map((on) => (
            <label key={String(on)} class="choice">
              <input
                type="radio"
                name="gate"
                checked={settings.gate === on}
                onChange={() => app.change({ gate: on })}
              />
              {on ? s.gateOn : s.gateOff}
            </label>
          ))}
        </fieldset>
        <fieldset class="field">
          <legend>{s.gentle}</legend>
          <label class="choice">
            <input
              type="checkbox"
              checked={settings.gentle}
              onChange={(event) => void gentle(event.currentTarget.checked)}
            />
            {s.gentleHint}
          </label>
        </fieldset>
        <fieldset class="field">
          <legend>{s.theme}</legend>
          {(["auto", "light", "dark"] as const satisfies readonly Theme[]).map((theme) => (
            <label key={theme} class="choice">
              <input
                type="radio"
                name="theme"
                checked={settings.theme === theme}
                onChange={() => app.change({ theme })}
              />
              {s.themes[theme]}
            </label>
          ))}
        </fieldset>
        {!valid && (
          <p class="invalid" role="alert">
            {s.invalid}
          </p>
        )}
        <button type="submit" class="button primary" disabled={!valid || !app.canTrain.value || training}>
          {s.start}
        </button>
      </form>
      <Profiler />
    </section>
  );
}

function GpuChoiceField() {
  const app = useApp();
  const s = t();
  const capabilities = app.capabilities.value;
  if (capabilities?.kind !== "ready") return null;
  const only = capabilities.adapters.length === 1;
  return (
    <fieldset class="field">
      <legend>{s.settings.gpu}</legend>
      {capabilities.adapters.map((gpu) => (
        <label key={gpu.powerPreference} class="choice">
          <input
            type="radio"
            name="gpu"
            checked={only || app.settings.value.powerPreference === gpu.powerPreference}
            onChange={() => app.change({ powerPreference: gpu.powerPreference })}
          />
          {s.gpu.name(gpu)}
          <span class="quiet">
            {gpu.fallback
              ? s.settings.software
              : only
                ? ""
                : gpu.powerPreference === "low-power"
                  ? s.settings.frugal
                  : s.settings.fast}
          </span>
        </label>
      ))}
    </fieldset>
  );
}
