import type { TaskKind } from "../../base/records.ts";
import type { RunArchive } from "../../worker/api.ts";

/** English: what is stored, who may change it, and how a new version of the page arrives. Part of the catalogue in en.ts. */

export const runs = {
  title: "Runs on this machine",
  none: "No runs yet. Start one, or import an archive.",
  columns: {
    name: "Name",
    started: "Started",
    round: "Round",
    updates: "Updates",
    heldOut: "Held-out B",
    size: "Size",
    status: "Status",
    actions: "Actions",
  },
  open: "Open",
  resume: "Resume",
  exportRun: "Export run",
  exportAdapter: "Export adapter",
  remove: "Delete",
  confirm: "Really delete?",
  cancel: "Keep",
  importRun: "Import a run (.zip)",
  importing: "Checking the archive…",
  imported: (name: string) => `${name} is imported as a run of its own: its journal, pairs and adapters match.`,
  deleted: "The run is deleted.",
  pairs: "Pairs",
  rename: "Rename",
  renameLabel: (name: string) => `New name of ${name}`,
  saveName: "Save name",
  keepName: "Cancel",
  renamed: (name: string) => `The run is called ${name} now.`,
  persistGranted: "The browser agreed.",
  confirmAbout: (name: string) => `${name} with its pairs, adapters and journal will be gone for good.`,
  seed: (seed: number) => `seed ${seed}`,
  importedBadge: "imported",
  storage: (usage: string, quota: string) => `${usage} of ${quota} used.`,
  persisted: "The browser keeps the data until you delete it.",
  notPersisted: "The browser may delete the data when space runs short.",
  persist: "Ask it to keep them",
  persistRefused: "The browser did not agree. Installing the page or adding a bookmark often helps.",
  current: "What is on show now",
  exportRecording: "Export recording (.jsonl.gz)",
  exported: (name: string) => `Saved ${name}.`,
  contains: ({ events, pairs, visitorPairs, adapters }: RunArchive["contains"]) =>
    [
      `It holds all ${events} events of the run, ${pairs} preference pairs with their pictures and answers, and ${adapters} adapters with their optimizer's state.`,
      visitorPairs > 0
        ? `${visitorPairs} of the pairs are your own: pictures that you drew and words that you wrote. Whoever gets the file can see them.`
        : "Nothing in it is drawn or written by you.",
    ].join(" "),
  status: {
    loading: "loading",
    running: "running",
    paused: "paused",
    stopped: "stopped",
    finished: "finished",
    failed: "failed",
  },
  adapterNote: "The adapter is in PEFT's format; the run archive can be checked with",
  verify: "npx autodidact verify RUN.zip",
  needsClient: "Runs are listed when the workers have started.",
};

export const pairs = {
  title: (name: string) => `Pairs of ${name}`,
  close: "Close",
  about:
    "What the run has to train on, newest first. What you forget is deleted with its pictures; the journal keeps only that it was there.",
  aboutImported:
    "Imported pairs are set aside: they do not train here unless you include them, and they stay marked as imported even then.",
  source: "Source",
  round: "Round",
  kind: "Question",
  kinds: {
    describe: "describe",
    count: "how many",
    exists: "is there",
    "left-of": "left of",
    sum: "sum",
    difference: "difference",
  } satisfies Record<TaskKind, string>,
  verdict: "Verdict",
  all: "all",
  status: {
    fresh: "not trained yet",
    trained: "in the candidate",
    accepted: "accepted",
    quarantined: "set aside",
  },
  loading: "Reading the pairs…",
  none: "No pair passes this filter.",
  shown: (from: number, to: number, total: string) => `${from} to ${to} of ${total}.`,
  moreThan: (count: number) => `more than ${count}`,
  where: (source: string, status: string) => `${source} · ${status}`,
  choose: "Choose",
  number: (index: number) => `pair ${index}`,
  choosePage: "Choose all on this page",
  chooseAll: (count: number, more: boolean) => (more ? `Choose the first ${count}` : `Choose all ${count}`),
  chooseNone: "Choose none",
  chooseFirst: "Choose pairs to forget or include them.",
  pages: "Pages",
  previous: "Newer",
  next: "Older",
  forget: (count: number) => `Forget ${plural(count)}`,
  include: (count: number) => `Include ${plural(count)} in training`,
  aboutForget: (count: number) =>
    `${plural(count)} will be gone for good, pictures and answers. What they taught the adapters stays in those.`,
  confirmForget: "Really forget?",
  aboutInclude: (count: number) =>
    `${plural(count)} that somebody else made will take part in the next round's training. Look at them first.`,
  confirmInclude: "Really include?",
  cancel: "Keep as it is",
  forgotten: (count: number) => `${plural(count)} forgotten; the journal says so.`,
  included: (count: number) => `${plural(count)} included: they train with the next round.`,
  reader: "Another tab trains and writes the memory. Press “Continue here” to change pairs in this tab.",
  training: "The run is training. Pause it to change its pairs.",
  ended: "The run has ended: nothing trains in it any more.",
};

const plural = (count: number): string => `${count} ${count === 1 ? "pair" : "pairs"}`;

export const compare = {
  title: "Two runs side by side",
  choose: "Compare",
  chooseLabel: (name: string) => `Compare ${name}`,
  hint: "Tick two runs to see their curves side by side, and the settings in which they differ.",
  one: "Tick one more run.",
  loading: "Reading both runs…",
  close: "Close",
  chart: (world: string) => `${world}: held-out exact match, greedy, with 95% interval`,
  noEvaluation: "Neither run has been evaluated in this world yet.",
  last: "Last evaluation",
  differences: "Settings that differ",
  same: "None: the two runs have the same settings, seed, base and GPU.",
  setting: "Setting",
};

export const space = {
  noRoom: (rounds: number, need: string, left: string) =>
    `A run of ${rounds} rounds takes about ${need}, and the browser has ${left} left for this page. Delete runs below, free space on the disk, or train fewer rounds.`,
  full: (usage: string, quota: string) => `This page uses ${usage} of the ${quota} that the browser allows.`,
  diskFull: (usage: string, quota: string) =>
    `This page uses ${usage}. The browser would allow ${quota}, so it is probably the disk itself that is full.`,
  by: "What the runs take, the largest first:",
  rest: (size: string) =>
    `the page itself with its model and judge, and what the browser has not cleared yet: about ${size}`,
  current: "this run; it can go on once there is room",
  advice: "Export what you want to keep, then delete runs here, or free space on the disk.",
  goOn: "Go on",
};

export const tabs = {
  training:
    "This tab looks on. Another tab of this page trains, and only one may train and write the memory. If that tab is closed, this one goes on by itself.",
  idle: "This tab looks on. Another tab of this page is open, and only one may train and write the memory.",
  here: "Continue here",
  asking: "Waiting for the other tab to save and let go…",
  tookOver: (event: number) =>
    `The other tab has let go. This tab goes on with its run from the last saved step, event ${event}.`,
  understood: "Understood",
  refused:
    "Another tab of this page trains and writes the memory, and only one may. Press “Continue here” to go on in this tab, or close the other one.",
};

export const update = {
  running: "A run is going on. Pause it or let it finish, then update; the new version waits.",
  runningElsewhere: "Another tab has a run open. Stop it there, or close that tab, then update; the new version waits.",
  leftBehind: (names: string) =>
    `The new version has another base model, and these unfinished runs belong to the present one: ${names}. They stay here to be looked at and exported, but cannot go on after the update. Finish them first, or update all the same.`,
  anyway: "Update all the same",
  notNow: "Not now",
  none: "No new version is waiting.",
  noOfflineCopy: "This browser or window keeps no offline copy (HTTPS or localhost is needed).",
  devServer: "The dev server keeps no offline copy.",
  notStored: "The offline copy could not be stored: no space, or files changed meanwhile.",
};
