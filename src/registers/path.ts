import { KvmIrqError } from "../abi/error.ts";

/**
 * Paths that name fields of decoded state as jq would: `pic1.imr`, `ioapic.redirtbl[4].mask`,
 * `lapic[0].svr`. An index may be a number, a range or all of them: `[4]`, `[16-23]`, `[*]`.
 */

type Step = { key: string } | { from: number; to: number };

export interface Path {
  text: string;
  steps: Step[];
}

/** A field that a path leads to, with its own exact path. */
export interface Field {
  path: string;
  value: unknown;
  /** Puts another value into the state that the field was found in. */
  set(value: unknown): void;
}

const FIRST = /^[A-Za-z_][A-Za-z0-9_]*/;
const NEXT = /^(?:\.([A-Za-z0-9_]+)|\[(?:(\d+)(?:-(\d+))?|(\*))\])/;

/** Fields that are left out of decoded state while they are zero, and so may be named all the same. */
const OPTIONAL_FIELDS = new Set(["pad", "reserved"]);

/**
 * Parses a path. A leading `chips.` may be left out, and `vcpu[0]`, as `--chip` has it, is `vcpus[0]`.
 *
 * @throws KvmIrqError `bad-path`.
 */
export function parsePath(text: string): Path {
  const start = text.replace(/^chips\./, "").replace(/^vcpu(?=\[|$)/, "vcpus");
  const first = FIRST.exec(start)?.[0];
  if (first === undefined) throw badPath(text);
  const steps: Step[] = [{ key: first }];
  let rest = start.slice(first.length);
  while (rest !== "") {
    const match = NEXT.exec(rest);
    if (match === null) throw badPath(text);
    const [whole, key, from, to, all] = match;
    if (key !== undefined) steps.push({ key });
    else if (all !== undefined) steps.push({ from: 0, to: Number.POSITIVE_INFINITY });
    else if (Number(to ?? from) < Number(from)) throw badPath(text);
    else steps.push({ from: Number(from), to: Number(to ?? from) });
    rest = rest.slice(whole.length);
  }
  return { text, steps };
}

/** A path as far as it can be told without a VM's state: up to a field that is left out of it at times. */
export function certainPart({ text, steps }: Path): Path {
  const unsure = steps.findIndex((step) => "key" in step && OPTIONAL_FIELDS.has(step.key));
  return { text, steps: unsure === -1 ? steps : steps.slice(0, unsure + 1) };
}

/** Whether a path names a field, given by its exact path, or something that it is part of. */
export function covers({ steps }: Path, field: Path): boolean {
  return steps.every((step, at) => {
    const other = field.steps[at];
    if (other === undefined) return false;
    if ("key" in step) return "key" in other && step.key === other.key;
    return "from" in other && step.from <= other.from && other.to <= step.to;
  });
}

function badPath(text: string): KvmIrqError {
  return new KvmIrqError("bad-path", `${JSON.stringify(text)} is not a path to a field`, {
    hint: "a path looks like pic1.imr, ioapic.redirtbl[4].mask or lapic[0].svr",
  });
}

/**
 * The fields of decoded state that a path names: one, or several when an index is a range.
 *
 * @param root what the path starts in, with `pic1`, `ioapic`, `lapic` and so on as its keys.
 * @throws KvmIrqError `bad-path` when there is no such field, saying what there is.
 */
export function resolvePath(root: object, path: Path): Field[] {
  let found: Field[] = [{ path: "", value: root, set: () => {} }];
  for (const step of path.steps) {
    found = found.flatMap((field) =>
      "key" in step ? [member(field, step.key, path)] : elements(field, step, path),
    );
  }
  return found;
}

function member(parent: Field, key: string, path: Path): Field {
  const { value } = parent;
  const here = parent.path === "" ? key : `${parent.path}.${key}`;
  if (isRecord(value) && (Object.hasOwn(value, key) || OPTIONAL_FIELDS.has(key))) {
    return {
      path: here,
      value: value[key] ?? 0,
      set: (next) => {
        value[key] = next;
      },
    };
  }
  throw new KvmIrqError("bad-path", `there is no ${here}${here === path.text ? "" : ` (in ${path.text})`}`, {
    hint: isRecord(value)
      ? `${parent.path === "" ? "there is" : `${parent.path} has`}: ${Object.keys(value).join(", ")}`
      : `${parent.path} is a single value`,
  });
}

/** Local APICs and vCPUs are found by their vCPU's number, whichever of them a snapshot has. */
function elements(parent: Field, { from, to }: { from: number; to: number }, path: Path): Field[] {
  const { value } = parent;
  if (!Array.isArray(value)) {
    throw new KvmIrqError("bad-path", `${parent.path} (in ${path.text}) is not a list`);
  }
  const found = value.flatMap((element: unknown, position): Field[] => {
    const index = isRecord(element) && typeof element["vcpu"] === "number" ? element["vcpu"] : position;
    if (index < from || index > to) return [];
    return [
      {
        path: `${parent.path}[${index}]`,
        value: element,
        set: (next) => {
          value[position] = next;
        },
      },
    ];
  });
  const wanted = Number.isFinite(to) ? to - from + 1 : 1;
  if (found.length < wanted) {
    const missing =
      wanted === 1
        ? `there is no ${parent.path}[${from}]`
        : `${parent.path} does not have all of [${from}-${to}]`;
    throw new KvmIrqError(
      "bad-path",
      `${missing}: it has ${value.length} element${value.length === 1 ? "" : "s"}`,
      { hint: "elements are counted from 0; a local APIC has its vCPU's number" },
    );
  }
  return found;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
