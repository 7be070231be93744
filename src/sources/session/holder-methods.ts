import { KvmIrqError } from "../../abi/error.ts";
import { type Machine, readChips, signalMsis } from "../../vm/machine.ts";
import { setRoutedLines } from "../../vm/routed.ts";
import { writeChips } from "../../vm/write.ts";
import { fromWire, type HolderMethods, type SessionInfo, toWire } from "./protocol.ts";
import { isParams } from "./request-shapes.ts";

/** The lines that one client holds high for the moment. */
export type TransientLines = Set<number>;

export type Methods = {
  [M in keyof HolderMethods]: (params: unknown, transient: TransientLines) => HolderMethods[M]["result"];
};

/**
 * What a holder does for each request. Every method is synchronous, so requests are carried out one at a
 * time and never interleave.
 *
 * @param onDestroy called once the answer to `destroy` is on its way.
 */
export function holderMethods(machine: Machine, info: SessionInfo, onDestroy: () => void): Methods {
  const describe = (method: "describe" | "peek", params: unknown) => {
    check(method, params);
    const { guest, routing } = machine;
    return { ...info, routing, ...(guest === undefined ? {} : { guest }) };
  };
  return {
    describe: (params) => describe("describe", params),
    peek: (params) => describe("peek", params),
    readChips(params) {
      const { ids } = check("readChips", params);
      return { images: readChips(machine, ids).map(toWire) };
    },
    writeChips(params) {
      const { images, expected } = check("writeChips", params);
      writeChips(machine, images.map(fromWire), expected.map(fromWire));
      return {};
    },
    setIrqLines(params, lines) {
      const { steps, transient } = check("setIrqLines", params);
      const statuses = setRoutedLines(machine, steps);
      for (const { gsi, level } of steps) {
        if (transient && level === 1) lines.add(gsi);
        else lines.delete(gsi);
      }
      return { statuses };
    },
    signalMsis(params) {
      const { messages } = check("signalMsis", params);
      return { statuses: signalMsis(machine, messages) };
    },
    setRouting(params) {
      machine.setRouting(check("setRouting", params).routing);
      return {};
    },
    irqfd(params) {
      return { irqfds: machine.irqfd(check("irqfd", params).action) };
    },
    destroy(params) {
      check("destroy", params);
      onDestroy();
      return {};
    },
  };
}

function check<M extends keyof HolderMethods>(method: M, params: unknown = {}): HolderMethods[M]["params"] {
  if (isParams(method, params)) return params;
  throw new KvmIrqError("bad-input", `these are no parameters of ${method}`);
}
