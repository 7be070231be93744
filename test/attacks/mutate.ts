import type { Random } from "./random.ts";

/** Text that a terminal would act on: title, colour, cursor, C1's CSI, bell, newlines, right to left. */
export const TERMINAL_TEXTS: readonly string[] = [
  "\u001b]0;owned\u0007",
  "\u001b[31mred\u001b[2J",
  "\u009b2J",
  "a\nkvm-irq: all is well",
  "b\rc\bd",
  "\u202etxt.exe",
  "\u0007\u007f\u0085\u2066",
];

/** Words that are seldom thought of. A command line can't hold NUL, so none has it. */
export const HOSTILE_WORDS: readonly string[] = [
  ...TERMINAL_TEXTS,
  ..."- -- --- -x --json=1 --no-such = . .. / 0 -0 -1 00 +1 1e3 1e400 1.5 NaN Infinity 0x 0x1g 0b1".split(
    " ",
  ),
  ..."4- -4 4-2 4..6 1,,2 , 23-24 24 4095 4096 4294967295 4294967296 9007199254740993".split(" "),
  ..."99999999999999999999 __proto__ constructor toString hasOwnProperty pic1 pic1. pic1.imr pic1..imr".split(
    " ",
  ),
  ..."ioapic.redirtbl[24].mask=true ioapic.redirtbl[-1].mask=1 lapic[99999].svr=0 lapic[0].irr=[256]".split(
    " ",
  ),
  ..."lapic[*].irr=0x34 [0] pic1.imr=256 pic1.imr=-1 pic1.imr=true pic1.imr&&1 msi:0xfee00000 null all".split(
    " ",
  ),
  ..."ms 1 1xs -1s 1e9h 999999999h 0s 596h1 /dev/null /dev/zero /proc/self/mem /nonexistent/x .".split(" "),
  "",
  " ",
  "'",
  '"',
  "\\",
  "é",
  "\u{1f4a5}",
  "\ud800",
  "a".repeat(5000),
  "[".repeat(2000),
  "../".repeat(200),
  "%s%n$(id)`id`;id|id&",
];

/** JSON text that is rarely expected where it then stands. */
const HOSTILE_JSON: readonly string[] = [
  ..."null true false 0 -1 -0 1.5 1e400 -1e400 1e21 256 4294967296 9007199254740993 [] {} [null] [[]] NaN".split(
    " ",
  ),
  '{"__proto__":{"x":1}}',
  '{"constructor":null}',
  '{"length":1e9}',
  '"0x1ffffffffffffffff"',
  '"unknown-99999999999"',
  '"\\ud800"',
  '"\\u0000"',
  ...[...TERMINAL_TEXTS, "", "x".repeat(20_000)].map((text) => JSON.stringify(text)),
  `${"[".repeat(300)}${"]".repeat(300)}`,
  `${'{"a":'.repeat(300)}1${"}".repeat(300)}`,
];

/** Flips, cuts out, repeats, inserts or overwrites a few bytes. */
export function mutateBytes(random: Random, original: Uint8Array): Buffer {
  let bytes: Buffer = Buffer.from(original);
  for (let times = 1 + random.below(3); times > 0; times--) {
    const at = random.below(bytes.length + 1);
    const length = random.below(random.chance(0.5) ? 4 : 200);
    const [before, piece, after] = [
      bytes.subarray(0, at),
      bytes.subarray(at, at + length),
      bytes.subarray(at),
    ];
    bytes = random.pick<() => Buffer>([
      () => Buffer.concat([before, bytes.subarray(at + length)]),
      () => Buffer.concat([before, piece, piece, after]),
      () => Buffer.concat([before, random.bytes(length), after]),
      () => Buffer.concat([before, random.bytes(length), bytes.subarray(at + length)]),
      () => Buffer.from(before),
      () => Buffer.concat([before, Buffer.from(random.pick(HOSTILE_JSON)), after]),
    ])();
  }
  return bytes;
}

/** Changes a JSON value in a few places: members go, are renamed, doubled, or become something else. */
export function mutateJson(random: Random, value: unknown): string {
  let text = JSON.stringify(value);
  for (let times = 1 + random.below(2); times > 0; times--) text = mutateMember(random, text);
  return text;
}

/** A value or a key somewhere in JSON text, as `[from, to]`. */
function members(text: string): [number, number][] {
  return [...text.matchAll(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\[[^[\]]*\]|\{[^{}]*\}/g)].map(
    ({ index, 0: found }) => [index, index + found.length],
  );
}

function mutateMember(random: Random, text: string): string {
  const places = members(text);
  if (places.length === 0) return random.pick(HOSTILE_JSON);
  const [from, to] = random.pick(places);
  const member = text.slice(from, to);
  const replacement = random.pick<() => string>([
    () => random.pick(HOSTILE_JSON),
    () => random.pick(HOSTILE_JSON),
    () => `${member},${member}`,
    () => text.slice(...random.pick(places)),
    () => "",
  ])();
  return text.slice(0, from) + replacement + text.slice(to);
}

/** Replaces, drops, doubles, swaps or inserts words. */
export function mutateWords(random: Random, original: readonly string[]): string[] {
  const words = [...original];
  for (let times = 1 + random.below(2); times > 0; times--) {
    const at = random.below(words.length + 1);
    random.pick<() => unknown>([
      () => words.splice(at, 1, random.pick(HOSTILE_WORDS)),
      () => words.splice(at, 1, random.pick(HOSTILE_WORDS)),
      () => words.splice(at, 0, random.pick(HOSTILE_WORDS)),
      () => words.splice(at, 1),
      () => words.splice(at, 0, words[random.below(words.length)] ?? "-h"),
      () => words.splice(at, 1, (words[at] ?? "") + random.pick(HOSTILE_WORDS)),
    ])();
  }
  return words;
}
