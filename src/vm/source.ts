import type { Operation, Params, Result } from "./operations.ts";
import type { Identity, Reading, Wanted } from "./reading.ts";

/**
 * A way to see a VM: a session's, one inside another process, one in this process, or a file.
 *
 * Calls take lists, so that one round trip (a socket hop, one stop of another process) serves a whole
 * command, and what it returns is one consistent picture (another process's vCPUs excepted: they are read in
 * turn).
 */
export interface Source {
  /** Where it is and what it has. A reading may find out more. */
  readonly identity: Identity;
  /** Whether it can be asked for an operation. */
  can(operation: Operation): boolean;
  read(wanted: Wanted): Promise<Reading>;
  /**
   * Carries out an operation, without anything of another client in between.
   *
   * @throws KvmIrqError `unsupported` for one that {@link can} denies; what the operation throws.
   */
  perform<N extends Operation>(operation: N, params: Params<N>): Promise<Result<N>>;
  close(): Promise<void>;
  /** Resolves when the VM has ended, where that is told without asking: further calls are then refused. */
  ended?(): Promise<void>;
}
