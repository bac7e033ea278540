/** The kernels that a stored run began with: it goes on with them, whatever has been tuned since. */
import type { DeviceSummary } from "../base/events.ts";
import { type Abilities, runnable } from "../ops/tune.ts";
import { variantsFrom } from "../ops/variants.ts";

/**
 * The tuned choices of a journalled device, or null where they say nothing here: there are none, they are another
 * adapter's, or this version lacks one of the kernels, or this adapter one of the abilities (an archive may say anything).
 */
export function tunedChoices(
  journalled: DeviceSummary | null | undefined,
  here: Pick<DeviceSummary, "vendor" | "architecture" | "description">,
  can: Abilities,
): Readonly<Record<string, string>> | null {
  if (!journalled) return null;
  const same = (["vendor", "architecture", "description"] as const).every((part) => journalled[part] === here[part]);
  if (!same) return null;
  try {
    const { tuned = {} } = variantsFrom(journalled.variants);
    return Object.keys(runnable(tuned, can)).length === Object.keys(tuned).length ? tuned : null;
  } catch {
    return null;
  }
}
