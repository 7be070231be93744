"use strict";

const { load } = require("./load.js");
load(require.resolve("../dist/kvm-irq-holder.cjs")).main();
