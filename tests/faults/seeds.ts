/** Seeds that failed once, with what was wrong. They are played in every test run and never leave this list. */
export const failedSeeds: ReadonlyMap<number, string> = new Map([
  [25, "a read-back buffer stayed behind when its mapping failed with the device"],
  [37, "an engine stayed open when the store beneath it could not be opened"],
  [53, "the same, at another write"],
  [1077, "a folder that could not be begun on a full disk did not call that a full disk"],
]);
