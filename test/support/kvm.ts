import { Kvm } from "../../src/kvm/kvm.ts";

/** Why the real KVM can't be used here; `undefined` where it can. */
export const noKvm: string | undefined = reason();

/** Whether tests on the real kernel can run. */
export const haveKvm: boolean = noKvm === undefined;

/** The backend that tests of the built program run on: the kernel where it is there, else the model. */
export const testBackend = haveKvm ? "kvm" : "model";

function reason(): string | undefined {
  try {
    Kvm.open().close();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
