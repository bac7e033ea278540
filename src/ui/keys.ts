import type { App } from "./app.ts";

/** Keyboard shortcuts of the watch view; off inside fields and on controls that use the key themselves. */
export function handleKey(app: App, event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (app.view.value !== "watch") return;
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("input, select, textarea, [contenteditable]")) return;
  const onControl = target?.closest("button, a, summary") !== null && target !== null;
  const tasks = app.model.value.tasks.length;
  switch (event.key) {
    case " ":
      if (onControl) return;
      void app.togglePlay();
      break;
    case "ArrowLeft":
      app.jump(-1);
      break;
    case "ArrowRight":
      app.jump(1);
      break;
    case ".":
      if (app.session.value) void app.report(app.session.value.step());
      break;
    case "j":
    case "k":
      if (tasks > 1) app.taskIndex.value = (app.taskIndex.value + (event.key === "j" ? 1 : tasks - 1)) % tasks;
      break;
    case "?":
      location.hash = "#explain";
      break;
    default:
      return;
  }
  event.preventDefault();
}
