/**
 * The floors of the house, top to bottom: a file imports from its own floor or from those below it.
 * CONTRIBUTING.md says what each floor is for.
 */
const FLOORS = [
  "cli|commands",
  "render",
  "diagnose",
  "target",
  "session",
  "model",
  "trace",
  "sys",
  "machine",
  "abi|registers",
];

const path = (floors) => `^src/(${floors.join("|")})(/|\\.ts$)`;

module.exports = {
  forbidden: [
    ...FLOORS.slice(1).map((floor, index) => ({
      name: `${floor}-imports-downwards`,
      severity: "error",
      from: { path: path([floor]) },
      to: { path: path(FLOORS.slice(0, index + 1)) },
    })),
    {
      name: "only-sys-knows-the-ffi",
      severity: "error",
      from: { pathNot: "^src/sys/" },
      to: { path: "ffi-rs" },
    },
    {
      name: "abi-does-no-io",
      severity: "error",
      from: { path: "^src/abi/" },
      to: { path: "^(node:)?(fs|net|child_process|worker_threads)" },
    },
    {
      name: "nothing-imports-the-library-entry",
      severity: "error",
      from: { path: "^src/" },
      to: { path: "^src/index\\.ts$" },
    },
    {
      name: "no-circles",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
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
