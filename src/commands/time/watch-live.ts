import { KvmIrqError } from "../../abi/error.ts";
import type { Panels } from "../../arch/arch.ts";
import { toFile } from "../../cli/outcome.ts";
import { Screen } from "../../cli/screen.ts";
import type { Observation } from "../../rules/observe.ts";
import type { View } from "../../text/view.ts";
import { renderStill, renderWatch } from "../../text/watch.ts";
import { clock, newsLines } from "../../text/watch-news.ts";
import type { WatchSource } from "./watch-source.ts";

export interface LiveOptions {
  label: string;
  /** The tab to begin with, and how chips are shown. */
  panel: string;
  panels: Panels;
  intervalMs: number;
  /** Aborted to end the view. */
  signal: AbortSignal;
  /** Takes what is to stay on the shell's screen: the last state of a target that ended. */
  write(text: string): void;
}

const KEYS = "q quit  p pause  n step  1-5 tab chip  s save  up down scroll";
const NO_KEYS = "Ctrl-C quits; standard input is no terminal, so there are no keys";
/** Lines of the past that are kept: more than any terminal has rows. */
const KEPT_LINES = 500;

type Ending = "quit" | "interrupted";

/** The live view: reads, draws, and does what keys say, until it is left. */
export class LiveView {
  readonly #source: WatchSource;
  readonly #options: LiveOptions;
  readonly #view: View;
  #screen: Screen | undefined;
  #observation: Observation | undefined;
  #panel: string;
  #recent: string[] = [];
  #paused = false;
  #top = 0;
  #message: string | undefined;
  #ending: Ending | undefined;
  /** Ends the wait for the next reading. */
  #wake = () => {};

  /** @param view colours; the size is the terminal's own. */
  constructor(source: WatchSource, view: View, options: LiveOptions) {
    this.#source = source;
    this.#view = view;
    this.#options = options;
    this.#panel = options.panel;
  }

  /**
   * Runs until a key, or the signal, ends it.
   *
   * @throws KvmIrqError when the target ends.
   */
  async run(): Promise<Ending> {
    const { signal } = this.#options;
    const interrupt = () => this.#end("interrupted");
    signal.addEventListener("abort", interrupt);
    // Also while paused: the next reading says what happened.
    void this.#source.ended().then(() => this.#wake());
    try {
      // The first reading comes before the screen: what is wrong with the target is said on the shell's.
      await this.#read();
      this.#screen = new Screen({
        onKey: (name) => this.#press(name),
        onGone: interrupt,
        onResize: () => this.#draw(),
      });
      while (this.#ending === undefined && !signal.aborted) {
        this.#draw();
        await this.#pause();
        if (this.#ending === undefined) await this.#read();
      }
      this.#screen.close();
      return this.#ending ?? "interrupted";
    } catch (error) {
      this.#screen?.close();
      this.#leaveLast();
      throw error;
    } finally {
      signal.removeEventListener("abort", interrupt);
    }
  }

  #leaveLast(): void {
    const [screen, observation] = [this.#screen, this.#observation];
    if (screen === undefined || observation === undefined) return;
    // Below it come the error, its hint and the shell's prompt.
    const rows = screen.rows - 4;
    const view = { ...this.#view, columns: screen.columns };
    this.#options.write(renderStill({ ...this.#options, observation }, view, rows));
  }

  async #read(): Promise<void> {
    const seen = await this.#source.next();
    const at = this.#view.paint.dim(clock(seen.snapshot.captured_at));
    const news = seen.reading === 1 ? [] : newsLines(seen, this.#view);
    this.#recent = [...news.map((line) => `${at} ${line}`), ...this.#recent].slice(0, KEPT_LINES);
    this.#observation = seen;
  }

  #draw(): void {
    const [screen, observation] = [this.#screen, this.#observation];
    if (screen === undefined || observation === undefined) return;
    const { lines, top } = renderWatch(
      {
        ...this.#options,
        observation,
        panel: this.#panel,
        paused: this.#paused,
        cost: this.#source.cost(),
        recent: this.#recent,
        footer: this.#message ?? (process.stdin.isTTY ? KEYS : NO_KEYS),
        top: this.#top,
      },
      { ...this.#view, columns: screen.columns },
      screen.rows,
    );
    this.#top = top;
    screen.draw(lines);
  }

  /** Until the next reading is due; without end while paused. */
  async #pause(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (!this.#paused) timer = setTimeout(resolve, this.#options.intervalMs);
      if (this.#ending !== undefined) resolve();
    });
    clearTimeout(timer);
    this.#wake = () => {};
  }

  #end(ending: Ending): void {
    this.#ending ??= ending;
    this.#wake();
  }

  #press(name: string): void {
    this.#message = undefined;
    const { tabs } = this.#options.panels;
    const tab = tabs[Number(name) - 1];
    if (tab !== undefined) this.#show(tab);
    else if (name === "q") this.#end("quit");
    else if (name === "C-c") this.#end("interrupted");
    else if (name === "p" || name === "space") this.#togglePause();
    else if (name === "n" || name === ".") this.#step();
    else if (name === "tab") this.#show(tabs[(tabs.indexOf(this.#panel) + 1) % tabs.length]!);
    else if (name === "s") void this.#save();
    else if (name === "down" || name === "j") this.#top++;
    else if (name === "up" || name === "k") this.#top = Math.max(0, this.#top - 1);
    this.#draw();
  }

  #show(panel: string): void {
    this.#panel = panel;
    this.#top = 0;
  }

  #togglePause(): void {
    this.#paused = !this.#paused;
    if (!this.#paused) this.#wake();
  }

  /** One reading, and then no more until the next key. */
  #step(): void {
    this.#paused = true;
    this.#wake();
  }

  async #save(): Promise<void> {
    const { snapshot } = this.#observation!;
    const { name, pid } = snapshot.source;
    const who = (name ?? String(pid ?? "vm")).replace(/[^\w.-]/g, "_");
    const file = `kvm-irq-${who}-${snapshot.captured_at.replace(/[-:]/g, "")}.json`;
    try {
      await toFile(file, { text: () => `${JSON.stringify(snapshot)}\n` });
      this.#message = `saved ${file}`;
    } catch (error) {
      if (!(error instanceof KvmIrqError)) throw error;
      this.#message = error.message;
    }
    this.#draw();
  }
}
