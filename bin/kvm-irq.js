#!/usr/bin/env node
"use strict";

// Every Node that there is has to be able to read this file.
const argv = process.argv.slice(2);
if (Number(process.versions.node.split(".")[0]) < 20) {
  process.stderr.write(`kvm-irq: Node 20 or newer is needed; this is ${process.version}\n`);
  process.exitCode = 3;
} else if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-V")) {
  process.stdout.on("error", ({ code, message }) => {
    if (code === "EPIPE") process.exit();
    process.stderr.write(`kvm-irq: standard output can't be written: ${message}\n`);
    process.exit(2);
  });
  process.stdout.write(`${require("../package.json").version}\n`);
} else {
  let program;
  try {
    const { load } = require("./load.js");
    program = load(require.resolve("../dist/cli.cjs"));
  } catch ({ message }) {
    process.stderr.write(`kvm-irq: the program can't be loaded: ${message.split("\n")[0]}\n`);
    process.exit(5);
  }
  program.main(argv);
}
