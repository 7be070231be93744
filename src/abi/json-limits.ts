/**
 * What a snapshot of 4096 vCPUs stays far below. Without limits JSON.parse turns a few megabytes of brackets
 * into gigabytes of objects, and what walks nested objects runs out of stack.
 */
const MOST = { depth: 32, lists: 100_000, values: 1_000_000, fields: 1000 };

const [QUOTE, COMMA, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [
  ...Buffer.from('",\\[]{}'),
];

/**
 * Looks at JSON text before it is parsed; text that is not JSON may pass.
 *
 * @returns what there is too much of, in words.
 */
export function excessOf(text: string): string | undefined {
  /** The commas met so far in each object that is open; none counts in a list. */
  const fields: number[] = [];
  let lists = 0;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        while (++at < text.length && text.charCodeAt(at) !== QUOTE) {
          if (text.charCodeAt(at) === BACKSLASH) at++;
        }
        break;
      case COMMA:
        if (++values > MOST.values) return `it has more than ${MOST.values} values`;
        if (++fields[fields.length - 1]! > MOST.fields)
          return `an object has more than ${MOST.fields} fields`;
        break;
      case OPEN_LIST:
      case OPEN_OBJECT:
        fields.push(text.charCodeAt(at) === OPEN_OBJECT ? 1 : Number.NEGATIVE_INFINITY);
        if (++lists > MOST.lists) return `it has more than ${MOST.lists} lists and objects`;
        if (fields.length > MOST.depth) return `it is nested more than ${MOST.depth} deep`;
        break;
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        fields.pop();
    }
  }
  return undefined;
}
