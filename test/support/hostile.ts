/** Text that takes over a terminal which gets it raw: a title, a cleared screen, colours, lines, reordering. */
export const HOSTILE =
  "x\u001b]0;owned\u0007\u001b[2J\u001b[35;7m\u009b31m\r\ny\t\u202e\u2066\u0008\u007f\u2028z";

/** The controls in an output that is to have none but newlines and tabs. */
export function controlsIn(output: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not be there
  return output.match(/(?![\n\t])[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g) ?? [];
}
