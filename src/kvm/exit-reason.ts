/** Why KVM_RUN returned, by `KVM_EXIT_*` number of `<linux/kvm.h>`. */
const EXIT_REASONS: Readonly<Record<number, string>> = {
  0: "KVM_EXIT_UNKNOWN",
  1: "KVM_EXIT_EXCEPTION",
  2: "KVM_EXIT_IO",
  5: "KVM_EXIT_HLT",
  6: "KVM_EXIT_MMIO",
  8: "KVM_EXIT_SHUTDOWN",
  9: "KVM_EXIT_FAIL_ENTRY",
  10: "KVM_EXIT_INTR",
  17: "KVM_EXIT_INTERNAL_ERROR",
  24: "KVM_EXIT_SYSTEM_EVENT",
};

/** The name of an exit reason, or its number. */
export function exitReason(number: number): string {
  return EXIT_REASONS[number] ?? `exit reason ${number}`;
}
