import type { Context, Outcome } from "./command.ts";

/** Shows what a command gives back, in the form that its options ask for. */
export async function show(
  { bytes, json, text }: Outcome,
  context: Pick<Context, "globals" | "view" | "write">,
): Promise<void> {
  if (bytes !== undefined) context.write(bytes);
  else if (context.globals.json) {
    if (json !== undefined) context.write(`${JSON.stringify(json)}\n`);
  } else if (text !== undefined) context.write(await text(await context.view()));
}
