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
}

/** What distributions' kernels do. */
export const USUAL_BEHAVIOUR: Behaviour = { smm: true };
