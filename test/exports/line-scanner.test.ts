import { describe, expect, test } from "vitest";
import { LineScanner } from "../../src/exports/line-scanner.ts";
import { eventLine } from "../../src/exports/ndjson.ts";
import { eventsOf, SVM } from "../support/recorded-trace.ts";

const LINE =
  '{"time":1000,"cpu":3,"pid":101,"comm":"CPU 0/KVM","process":100,"event":"kvm_set_irq","args":{"gsi":4,"level":1}}';
const changed = (from: string, to: string) => LINE.replace(from, to);

describe("a line as it is written", () => {
  test.each(Object.keys(SVM.runs))("is read as JSON.parse reads it: %s", (run) => {
    const scanner = new LineScanner();
    for (const event of [...eventsOf(run), ...eventsOf(run)])
      expect(scanner.event(eventLine(event))).toEqual(event);
  });

  test("shares its fields with those that have the same", () => {
    const scanner = new LineScanner();
    expect(scanner.event(LINE)!.args).toBe(scanner.event(changed("1000", "2000"))!.args);
  });

  test("is read when there are more different ones than are remembered", () => {
    const scanner = new LineScanner();
    for (let gsi = 0; gsi < 30_000; gsi++) {
      expect(scanner.event(changed('"gsi":4', `"gsi":${gsi}`))!.args["gsi"]).toBe(gsi);
    }
  });
});

test.each([
  ["a time with a leading zero", changed("1000", "01000")],
  ["no time", changed("1000", "")],
  ["a time that no number holds", changed("1000", "1".repeat(400))],
  ["a fraction", changed("1000", "1.5")],
  ["an exponent", changed("1000", "1e3")],
  ["a negative time", changed("1000", "-5")],
  ["blanks", changed('"time":', '"time": ')],
  ["another order", changed('"cpu":3,"pid":101', '"pid":101,"cpu":3')],
  ["a field twice, the second of another kind", changed('"process":100', '"process":100,"pid":"x"')],
  ["a field more", changed('"process":100', '"process":100,"more":1')],
  ["the time once more", changed('"process":100', '"process":100,"time":5')],
  ["a prototype", changed('"process":100', '"process":100,"__proto__":{"event":"x"}')],
  ["an unknown context", changed('"process":100', '"process":100,"context":"x"')],
  ["a summary in it", changed('"args"', '"summary":{},"args"')],
  ["a list among the fields", changed('"level":1', '"level":[1]')],
  ["an object among the fields", changed('"level":1', '"level":{}')],
  ["a number that no double holds", changed('"level":1', '"level":1e400')],
  ["a text without end", changed('"CPU 0/KVM"', '"CPU 0/KVM')],
  ["two objects", changed(',"event"', '},{"event"')],
  ["no end", LINE.slice(0, -1)],
  ["one bracket too many", `${LINE}}`],
  ["something behind it", `${LINE}x`],
  ["a very long name", changed("CPU 0/KVM", "x".repeat(1000))],
])("a line with %s is left to JSON.parse and the schema", (_, line) => {
  expect(new LineScanner().event(line)).toBeUndefined();
});

test.each([
  ["an escaped quotation mark", changed("CPU 0/KVM", 'a\\",\\"event\\":\\"b')],
  ["a field twice", changed('"level":1', '"level":1,"level":0')],
  ["a prototype among the fields", changed('"level":1', '"__proto__":1')],
  ["a carriage return at its end", `${LINE}\r`],
  ["the greatest time that is read so", changed("1000", "9".repeat(15))],
])("a line with %s is read as JSON.parse reads it", (_, line) => {
  const read = new LineScanner().event(line);
  expect(JSON.stringify(read)).toBe(JSON.stringify(JSON.parse(line)));
});
