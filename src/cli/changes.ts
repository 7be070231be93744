import type { Difference } from "../rules/diff.ts";
import type { View } from "../text/view.ts";

/** What `restore` and `set` tell a person: what they changed, and what the kernel made of it. */
export async function changesText(
  { title, changed, kernel }: { title: string; changed: Difference[]; kernel: Difference[] },
  view: View,
): Promise<string> {
  const { renderDifferences } = await import("../text/diff.ts");
  const own = changed.length === 0 ? "nothing differs\n" : renderDifferences(changed, view);
  const theirs =
    kernel.length === 0
      ? ""
      : `changed by the backend when it was written:\n${renderDifferences(kernel, view)}`;
  return `${title}\n${own}${theirs}`;
}
