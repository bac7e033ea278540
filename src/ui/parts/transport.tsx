import { useApp } from "../context.ts";
import { duration } from "../format.ts";
import { RecordingSession } from "../recording.ts";
import type { Session } from "../session.ts";
import { t } from "../strings/index.ts";
import { Icon, type IconName } from "./icon.tsx";
import { DecisionTick } from "./spark.tsx";

const speeds = [0.5, 1, 2, 4, 8];

/** Play, pause, step, stop and time travel, for a recording and a live run alike. */
export function Transport() {
  const app = useApp();
  const s = t().time;
  const session = app.session.value;
  if (!session) return null;
  const status = session.status.value;
  const going = status === "playing";
  const busy = status === "loading";
  // A tab that looks on moves through time, but does not steer.
  const lookingOn = session.mode === "live" && app.role.value === "reader";
  const over =
    lookingOn || (session.mode === "live" && (status === "finished" || status === "stopped" || status === "failed"));
  const position = session.position.value;
  const total = session.events.value.length;
  return (
    <section class="transport" aria-label={s.title}>
      <div class="transport-buttons">
        <Control
          icon={going ? "pause" : "play"}
          name={going ? s.pause : position > 0 ? s.resume : s.play}
          disabled={busy || over}
          main
          onClick={() => void app.togglePlay()}
        />
        <Control
          icon="step"
          name={s.step}
          disabled={busy || going || over}
          onClick={() => void app.report(session.step())}
        />
        <Control
          icon="stop"
          name={s.stop}
          disabled={over || (session.mode === "live" && total === 0)}
          onClick={() => void app.report(session.stop())}
        />
        <Control
          icon="reset"
          name={s.reset}
          disabled={going || busy}
          onClick={() => void (session.mode === "live" ? app.backToRecording() : app.report(session.reset()))}
        />
      </div>
      <div class="transport-line">
        <Control icon="previous" name={s.previous} disabled={position === 0} onClick={() => app.jump(-1)} />
        <TimeLine session={session} />
        <Control icon="next" name={s.next} disabled={position >= total} onClick={() => app.jump(1)} />
        {session.mode === "live" && !session.following.value && (
          <Control icon="newest" name={s.newest} disabled={false} onClick={() => session.follow()} />
        )}
      </div>
      <p class="transport-status">
        <StatusText session={session} />
      </p>
      {session instanceof RecordingSession && <Speed session={session} />}
    </section>
  );
}

interface ControlProps {
  readonly icon: IconName;
  readonly name: string;
  readonly disabled: boolean;
  readonly main?: boolean;
  readonly onClick: () => void;
}

function Control({ icon, name, disabled, main = false, onClick }: ControlProps) {
  return (
    <button
      type="button"
      class={`tool ${main ? "tool-main" : ""}`}
      disabled={disabled}
      aria-label={name}
      title={name}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

function TimeLine({ session }: { readonly session: Session }) {
  const s = t().time;
  const total = session.events.value.length;
  const position = session.position.value;
  const checkpoints = session.timeline.checkpoints();
  return (
    <div class="timeline">
      <svg class="timeline-ticks" aria-hidden="true">
        {checkpoints.map((checkpoint) => (
          <svg
            key={checkpoint.at}
            aria-hidden="true"
            x={`${(100 * checkpoint.at) / Math.max(1, total)}%`}
            overflow="visible"
          >
            <DecisionTick kind={checkpoint.kind} x={0} y={6} />
          </svg>
        ))}
      </svg>
      <input
        type="range"
        min={0}
        max={total}
        step={1}
        value={position}
        aria-label={s.slider}
        aria-valuetext={s.valueText(position, total, session.model.value.round)}
        onInput={(event) => session.seek(event.currentTarget.valueAsNumber)}
      />
    </div>
  );
}

function StatusText({ session }: { readonly session: Session }) {
  const app = useApp();
  const s = t();
  const status = session.status.value;
  const { round, rounds } = session.model.value;
  const run = app.live.value?.run.value;
  const seconds = session.mode === "live" && status === "playing" ? (run?.secondsPerRound ?? null) : null;
  const training = session.mode === "live" && status === "playing";
  const where = app.role.value === "reader" ? s.time.elsewhere : s.time.training;
  const newest = session.timeline.at(session.events.value.length).round;
  return (
    <>
      <strong>{training ? where : s.time.status[status]}</strong>
      {rounds > 0 && <> · {s.held.round(round, rounds)}</>}
      <span class="transport-event"> · {s.time.position(session.position.value, session.events.value.length)}</span>
      {seconds !== null && newest < rounds && <> · {s.time.left(duration(Math.max(0, rounds - newest) * seconds))}</>}
      {training && !session.following.value && <> · {s.time.past}</>}
      {app.wasHidden.value && <> · {s.time.hidden}</>}
    </>
  );
}

function Speed({ session }: { readonly session: RecordingSession }) {
  const s = t().time;
  return (
    <label class="speed">
      <span>{s.speed}</span>
      <select
        aria-label={s.speed}
        value={String(session.speed.value)}
        onChange={(event) => session.setSpeed(Number(event.currentTarget.value))}
      >
        {speeds.map((speed) => (
          <option key={speed} value={String(speed)}>
            {speed}×
          </option>
        ))}
      </select>
    </label>
  );
}
