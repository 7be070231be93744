/**
 * Where kernels differ from one another as far as the chips show it. Each member is a difference that was
 * seen, and docs/model.md says on which kernels.
 */
export interface Behaviour {
  /**
   * System management mode (CONFIG_KVM_SMM). A kernel without it drops an SMI: nothing is pending, and the
   * interrupt counts as coalesced.
   */
  smm: boolean;
  /**
   * Whether the map that the kernel looks destinations up in is exact: made only when every id leads to one
   * local APIC. In an inexact one, the first of two APICs with one physical id is found, the last of two with
   * one logical id, and an APIC whose logical id has several bits by the lowest.
   */
  exactMap: boolean;
  /** Whether `kvm_vcpu_events` counts the NMIs that wait, or says 1 for any number. */
  countsNmis: boolean;
}

/** What distributions' kernels do. */
export const USUAL_BEHAVIOUR: Behaviour = { smm: true, exactMap: true, countsNmis: true };
