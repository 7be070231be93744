/**
 * What a terminal acts on instead of showing it: C0, DEL and C1 (ECMA-48; U+009B alone begins a sequence),
 * line and paragraph separators, and the controls that reorder text (UAX #9, 2.1 to 2.3).
 */
const CONTROLS = "\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069";
const CONTROL = new RegExp(`[${CONTROLS}]`, "g");
/** The colours of `text/` (SGR, ECMA-48 8.3.117) are matched first, so that they stay. */
const GUARDED = new RegExp(`\\u001b\\[[0-9;]*m|(?![\\n\\t])[${CONTROLS}]`, "g");
/** Finds in most text, in a tenth of the time, that there is nothing to guard against. */
const SUSPECT = new RegExp(`[${CONTROLS.replace("\\u001f", "\\u0008\\u000b-\\u001f")}]`);
const SHORT: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Text of others (names, command lines, what files say) as one line that a person can be shown: controls
 * become visible escapes such as `\x1b`, `\n`, `\u202e`.
 */
export function printable(text: string): string {
  return text.replace(CONTROL, (letter) => {
    const code = letter.charCodeAt(0);
    return SHORT[letter] ?? (code < 0x100 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`);
  });
}

/**
 * The last guard of every output: lets lines, tabs and colours through, and escapes all other controls as
 * `\u009b`. In JSON text such a control can stand only inside a string (RFC 8259, 7), whose value that is.
 */
export function guarded(text: string): string {
  if (!SUSPECT.test(text)) return text;
  return text.replace(GUARDED, (found) => (found.length > 1 ? found : `\\u${hex(found.charCodeAt(0), 4)}`));
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}
