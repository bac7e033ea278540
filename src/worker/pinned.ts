/** The kernels that a stored run began with: it goes on with them, whatever has been tuned since. */
import type { DeviceSummary } from "../base/events.ts";
import { variantsFrom } from "../ops/variants.ts";

/**
 * The tuned choices of a journalled device, or null where they say nothing here: there are none, they are another
 * adapter's, or this version lacks one of the kernels.
 */
export function tunedChoices(
  journalled: DeviceSummary | null | undefined,
  here: Pick<DeviceSummary, "vendor" | "architecture" | "description">,
): Readonly<Record<string, string>> | null {
  if (!journalled) return null;
  const same = (["vendor", "architecture", "description"] as const).every((part) => journalled[part] === here[part]);
  if (!same) return null;
  try {
    return variantsFrom(journalled.variants).tuned ?? {};
  } catch {
    return null;
  }
}
