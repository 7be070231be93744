/** What stopping, borrowing and continuing a thread takes of x86-64: its registers, calls and signal frames. */

export * from "./batch.ts";
export * from "./restart.ts";
export * from "./sigframe.ts";
export * from "./user-regs.ts";
