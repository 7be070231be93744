import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./cli.ts";
import { has } from "./commands.ts";

/** Whether there is a terminal to try the program on. */
export const haveTmux: boolean = has("tmux");

/** A terminal that can be looked at and typed on, of tmux. Dispose of it at the end. */
export class Terminal {
  readonly #folder = mkdtempSync(join(tmpdir(), "kvm-irq-terminal-"));
  readonly #columns: number;
  readonly #rows: number;

  constructor(columns: number, rows: number) {
    this.#columns = columns;
    this.#rows = rows;
  }

  /** Runs a line of shell, and leaves what it showed on the screen. */
  run(line: string, env: NodeJS.ProcessEnv, cwd: string): void {
    const size = ["-x", String(this.#columns), "-y", String(this.#rows)];
    const { TMUX: _, ...outside } = env;
    this.#tmux(["-f", "/dev/null", "new-session", "-d", ...size, "-c", cwd, `${line}; sleep 600`], outside);
  }

  /** What the screen shows. */
  screen(): string {
    return this.#tmux(["capture-pane", "-p"]);
  }

  /** What the screen shows, and all that was scrolled out of it. */
  history(): string {
    return this.#tmux(["capture-pane", "-p", "-S", "-"]);
  }

  /** Types keys, by tmux's names for them. */
  type(...keys: string[]): void {
    this.#tmux(["send-keys", ...keys]);
  }

  resize(columns: number, rows: number): void {
    this.#tmux(["resize-window", "-x", String(columns), "-y", String(rows)]);
  }

  /** Whether the shell's own screen is shown, with its cursor. */
  isRestored(): boolean {
    return this.#tmux(["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim() === "0 1";
  }

  /** Waits until the screen shows something. */
  async shows(pattern: RegExp): Promise<string> {
    let screen = "";
    await until(`the terminal shows ${pattern}`, () => {
      screen = this.screen();
      return pattern.test(screen);
    }).catch((error) => {
      throw new Error(`${error.message}; it shows\n${screen}`);
    });
    return screen;
  }

  dispose(): void {
    this.#tmux(["kill-server"]);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #tmux(args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
    const socket = join(this.#folder, "socket");
    const { status, stdout, stderr } = spawnSync("tmux", ["-S", socket, ...args], { env, encoding: "utf8" });
    if (status !== 0) throw new Error(`tmux ${args[0]}: ${stderr}`);
    return stdout;
  }
}
