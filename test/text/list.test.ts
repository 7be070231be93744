import { expect, it } from "vitest";
import { renderList } from "../../src/text/list.ts";
import { plainView } from "../../src/text/view.ts";

it("a session that can't be used is named in the command that ends it", () => {
  const unusable = { name: "odd", pid: 1, reason: "session 'odd' was made by another version of kvm-irq" };
  expect(renderList([{ unusable }], [], plainView())).toContain(
    "session 'odd' was made by another version of kvm-irq: `kvm-irq destroy odd` ends it\n",
  );
});
