#!/usr/bin/env node
"use strict";
const { version } = require("../package.json");

const argv = process.argv.slice(2);
if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-V")) process.stdout.write(`${version}\n`);
else require("../dist/cli.cjs").main(argv);
