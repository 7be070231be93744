import { emitKeypressEvents } from "node:readline";
import { guarded } from "../abi/printable.ts";
import { inBackground } from "../os/proc.ts";

/** The alternate screen, without a cursor; a line that is too long after all is cut and not wrapped. */
const ENTER = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const LEAVE = "\u001b[?7h\u001b[?25h\u001b[?1049l";
/** What is written between these appears at once, on terminals that know them; others ignore them. */
const BEGIN_UPDATE = "\u001b[?2026h";
const END_UPDATE = "\u001b[?2026l";
const HOME = "\u001b[H";
const CLEAR_TO_EOL = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";
/** How often to look whether a shell has brought this program to the foreground; of a running one it says nothing. */
const LOOK_EVERY_MS = 200;

export interface ScreenEvents {
  /** A key by its name (`q`, `tab`, `down`), with `C-` before it for the control key. */
  onKey(name: string): void;
  /** The terminal is gone, or gives this program no more keys. */
  onGone(): void;
  /** The terminal has another size, or shows this program again. */
  onResize(): void;
}

/**
 * The whole terminal for a live view: the alternate screen, no cursor, each key by itself. However the
 * process ends, short of SIGKILL, the terminal is as it was. While it is the shell's, nothing is shown.
 */
export class Screen {
  readonly #events: ScreenEvents;
  #shown = false;
  #look: NodeJS.Timeout | undefined;
  readonly #restore = () => this.#leave();
  readonly #continued = () => this.#enter();

  constructor(events: ScreenEvents) {
    this.#events = events;
    process.on("exit", this.#restore);
    process.on("SIGCONT", this.#continued);
    process.stdout.on("resize", this.#resized);
    if (process.stdin.isTTY) {
      emitKeypressEvents(process.stdin);
      process.stdin.on("keypress", this.#pressed);
      process.stdin.once("end", this.#gone);
      // Stays to the end: a terminal that is gone refuses to be given back, too.
      process.stdin.on("error", this.#gone);
    }
    this.#enter();
  }

  get columns(): number {
    return process.stdout.columns || 80;
  }

  get rows(): number {
    return process.stdout.rows || 24;
  }

  /** Shows lines in place of those that are there; as many and as long as fit. */
  draw(lines: readonly string[]): void {
    if (!this.#shown) return;
    const text = lines.map((line) => `${guarded(line)}${CLEAR_TO_EOL}`).join("\r\n");
    process.stdout.write(`${BEGIN_UPDATE}${HOME}${text}${CLEAR_BELOW}${END_UPDATE}`);
  }

  /** Gives the terminal back. */
  close(): void {
    process.off("exit", this.#restore);
    process.off("SIGCONT", this.#continued);
    process.stdout.off("resize", this.#resized);
    process.stdin.off("keypress", this.#pressed);
    process.stdin.off("end", this.#gone);
    clearTimeout(this.#look);
    this.#leave();
    process.stdin.pause();
  }

  readonly #gone = () => this.#events.onGone();

  readonly #resized = () => this.#events.onResize();

  readonly #pressed = (_: string | undefined, key: { name?: string; sequence?: string; ctrl?: boolean }) => {
    const name = key.name ?? key.sequence ?? "";
    // In raw mode the terminal sends keys where it would have sent signals.
    if (key.ctrl && name === "z") this.#suspend();
    else this.#events.onKey(key.ctrl ? `C-${name}` : name);
  };

  #enter(): void {
    clearTimeout(this.#look);
    if (inBackground()) {
      this.#look = setTimeout(this.#continued, LOOK_EVERY_MS).unref();
      return;
    }
    if (process.stdin.isTTY) process.stdin.setRawMode(true).resume();
    process.stdout.write(ENTER);
    this.#shown = true;
    this.#events.onResize();
  }

  #leave(): void {
    if (!this.#shown) return;
    this.#shown = false;
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
    process.stdout.write(LEAVE);
  }

  /** Back to the shell until it says `fg`. */
  #suspend(): void {
    this.#leave();
    process.kill(process.pid, "SIGSTOP");
  }
}
