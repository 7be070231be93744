import { Argument } from "commander";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";

type Shell = "bash" | "zsh" | "fish";

/** `completion <shell>`: a script that completes commands, options and their choices. */
export const completion: CommandSpec = {
  targets: [],
  summary: "print a completion script for bash, zsh or fish",
  description: "Prints a script that teaches a shell to complete kvm-irq's commands, options and sessions.",
  examples: [
    ["source <(kvm-irq completion bash)", "in ~/.bashrc"],
    ["source <(kvm-irq completion zsh)", "in ~/.zshrc, after compinit"],
    ["kvm-irq completion fish > ~/.config/fish/completions/kvm-irq.fish", "once"],
  ],
  declare: (command) =>
    command.addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish"])),

  async run(context: Context, shell: Shell): Promise<Outcome> {
    const { completionScript } = await import("../../cli/completion/completion.ts");
    return { bytes: Buffer.from(completionScript(shell, await context.program.syntax())) };
  },
};
