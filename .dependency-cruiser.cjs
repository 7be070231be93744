/**
 * The floors of the house, top to bottom: a file imports from its own floor or from those below it.
 * CONTRIBUTING.md says what each floor is for.
 */
const FLOORS = [
  "commands",
  "cli",
  "exports",
  "text",
  "operations|lives|tracefs",
  "rules",
  "sources",
  "kvm",
  "vm",
  "registers|os",
  "abi",
];

const path = (floors) => `^src/(${floors.join("|")})/`;

module.exports = {
  forbidden: [
    ...FLOORS.slice(1).map((floor, index) => ({
      name: `${floor}-imports-downwards`,
      severity: "error",
      from: { path: path([floor]) },
      to: { path: path(FLOORS.slice(0, index + 1)) },
    })),
    {
      name: "only-os-and-kvm-know-the-ffi",
      severity: "error",
      from: { pathNot: "^src/(os|kvm)/" },
      to: { path: "ffi-rs" },
    },
    {
      name: "abi-does-no-io",
      severity: "error",
      from: { path: "^src/(abi|registers|vm|rules)/" },
      to: { path: "^(node:)?(fs|net|child_process|worker_threads)" },
    },
    {
      name: "the-model-and-the-diagnosis-read-the-manual-apart",
      severity: "error",
      from: { path: "^src/arch/[^/]+/.*(/model/|/(model|bus|destination-map|rtc-eois)\\.ts$)" },
      to: { path: "/(rules|words|logic|destination|remote-irr|edges)\\.ts$|/explain/|^src/rules/" },
    },
    {
      name: "the-diagnosis-and-the-model-read-the-manual-apart",
      severity: "error",
      from: { path: "/(rules|words|logic|destination|remote-irr|edges)\\.ts$|/explain/|^src/rules/" },
      to: { path: "^src/arch/[^/]+/.*(/model/|/(model|bus|destination-map|rtc-eois)\\.ts$)" },
    },
    {
      name: "only-the-registry-knows-an-architecture",
      severity: "error",
      from: { path: "^src/", pathNot: ["^src/arch/[^/]+/", "^src/arch/arches\\.ts$"] },
      to: { path: "^src/arch/[^/]+/" },
    },
    {
      name: "nothing-imports-the-library-entry",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/arch/x86/library\\.ts$" },
      to: { path: "^src/(index|arch/x86/library)\\.ts$" },
    },
    {
      name: "no-circles",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-orphans",
      severity: "error",
      from: { path: "^src/", orphan: true, pathNot: "^src/(cli|index)\\.ts$|\\.d\\.ts$" },
      to: {},
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "require", "node"] },
    doNotFollow: { path: "node_modules" },
  },
};
