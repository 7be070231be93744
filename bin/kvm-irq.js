#!/usr/bin/env node
"use strict";

const argv = process.argv.slice(2);
if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-V")) {
  process.stdout.on("error", ({ code, message }) => {
    if (code === "EPIPE") process.exit();
    process.stderr.write(`kvm-irq: standard output can't be written: ${message}\n`);
    process.exit(2);
  });
  process.stdout.write(`${require("../package.json").version}\n`);
} else {
  const { load } = require("./load.js");
  load(require.resolve("../dist/cli.cjs")).exports.main(argv);
}
