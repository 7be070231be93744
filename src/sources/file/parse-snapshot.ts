import { advice, looking } from "../../abi/advice.ts";
import { KvmIrqError } from "../../abi/error.ts";
import { excessOf } from "../../abi/json-limits.ts";
import { checkSnapshot, type SchemaIssue } from "../../vm/schema.ts";
import { SNAPSHOT_FORMAT, SNAPSHOT_VERSION, type Snapshot } from "../../vm/snapshot.ts";

const SNAPSHOT_MAKER = looking("dump", "--json");

/** How many places of a snapshot that don't fit a message names. */
const MAX_ISSUES = 3;

/**
 * Parses and checks a snapshot, whole.
 *
 * @param label how messages name the input.
 * @throws KvmIrqError `bad-input`, saying where it does not fit.
 */
export function parseSnapshot(text: string, label: string): Snapshot {
  if (text.trim() === "") {
    throw new KvmIrqError("bad-input", `${label} is empty`, {
      hint: advice`${SNAPSHOT_MAKER} makes a snapshot`,
    });
  }
  const excess = excessOf(text);
  if (excess !== undefined) throw unfit(label, [{ path: "", message: excess }]);
  const value = parseJson(text, label);
  refuseForeign(value, label);
  const result = checkSnapshot(value);
  if ("issues" in result) throw unfit(label, result.issues);
  return result.snapshot;
}

function parseJson(text: string, label: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new KvmIrqError("bad-input", `${label} is not valid JSON: ${(error as Error).message}`, {
      hint: advice`it may be cut short; ${SNAPSHOT_MAKER} makes a snapshot`,
    });
  }
}

/** The two mistakes that deserve better words than a schema has: another format, another version. */
function refuseForeign(value: unknown, label: string): void {
  const { format, version } = (value ?? {}) as Record<string, unknown>;
  if (format !== SNAPSHOT_FORMAT) {
    throw new KvmIrqError("bad-input", `${label} is not a snapshot: its format is not "${SNAPSHOT_FORMAT}"`, {
      hint: advice`${SNAPSHOT_MAKER} makes a snapshot`,
    });
  }
  if (version !== SNAPSHOT_VERSION) {
    throw new KvmIrqError(
      "bad-input",
      `${label} has version ${JSON.stringify(version)} of the snapshot format; this program knows ${SNAPSHOT_VERSION}`,
      { hint: "use the version of kvm-irq that made it" },
    );
  }
}

function unfit(label: string, issues: SchemaIssue[]): KvmIrqError {
  const shown = issues
    .slice(0, MAX_ISSUES)
    .map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
  const more = issues.length > MAX_ISSUES ? `; and ${issues.length - MAX_ISSUES} more` : "";
  return new KvmIrqError("bad-input", `${label} does not fit: ${shown.join("; ")}${more}`, {
    hint: advice`nothing was changed; ${SNAPSHOT_MAKER} makes a snapshot that fits`,
    details: { issues },
  });
}
