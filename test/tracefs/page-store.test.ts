import fc from "fast-check";
import { expect, test } from "vitest";
import { PageStore, type StoredPage } from "../../src/tracefs/page-store.ts";
import { descriptorsOf } from "../support/cli.ts";

const SIZE = 16;
const pageOf = (number: number) => new Uint8Array(SIZE).fill(number);
/** Files without a name that this process has open. */
const unnamed = () =>
  descriptorsOf(process.pid).filter((target) => /kvm-irq-pages.*\(deleted\)$/.test(target));

test("pages come back as they were, from memory and from the file, in any order", () => {
  const steps = fc.array(fc.oneof(fc.constant("put" as const), fc.nat(50)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (list) => {
      const store = new PageStore(SIZE, { memory: 3 * SIZE, file: 4 * SIZE });
      const kept: { page: StoredPage; number: number }[] = [];
      let number = 0;
      for (const step of list) {
        if (step === "put") {
          expect(store.hasRoom).toBe(kept.length < 7);
          if (!store.hasRoom) continue;
          const bytes = pageOf(++number % 256);
          kept.push({ page: store.put(bytes), number: number % 256 });
          bytes.fill(0);
        } else if (kept.length > 0) {
          const [one] = kept.splice(step % kept.length, 1);
          expect(store.take(one!.page)).toEqual(pageOf(one!.number));
        }
      }
      for (const { page, number: value } of kept) expect(store.take(page)).toEqual(pageOf(value));
      store.close();
    }),
  );
  expect(unnamed()).toEqual([]);
});

test("the file has no name while it is in use, and is gone once it is closed", () => {
  const store = new PageStore(SIZE, { memory: 0, file: SIZE });
  store.put(pageOf(1));
  expect(unnamed()).toHaveLength(1);
  store.close();
  expect(unnamed()).toEqual([]);
});
