import { listFolder, readText } from "../os/files.ts";

/** The module that makes KVM work on this CPU, beside `kvm` itself. */
export interface KvmModule {
  /** `kvm_intel`, `kvm_amd`, or another backend's. */
  name: string;
  /** Whether it lets CPUs run local APICs by themselves: APICv (`enable_apicv`), AVIC (`avic`). */
  apicv: boolean;
}

const MODULES = "/sys/module";
const APICV_PARAMETERS: Readonly<Record<string, string>> = { kvm_intel: "enable_apicv", kvm_amd: "avic" };

/** The backend that is loaded or built in; `undefined` where sysfs shows none. */
export function kvmModule(): KvmModule | undefined {
  const names = listFolder(MODULES) ?? [];
  const known = Object.keys(APICV_PARAMETERS).find((name) => names.includes(name));
  const name = known ?? names.find((other) => other.startsWith("kvm_"));
  return name === undefined ? undefined : { name, apicv: isOn(name, APICV_PARAMETERS[name]) };
}

function isOn(module: string, parameter: string | undefined): boolean {
  if (parameter === undefined) return false;
  return /^[Y1]/.test(readText(`${MODULES}/${module}/parameters/${parameter}`) ?? "");
}
