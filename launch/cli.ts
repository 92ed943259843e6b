#!/usr/bin/env node
/**
 * Starts the program. This file is also valid JavaScript for every old Node, and its folder is CommonJS, so that such
 * a Node gets as far as the sentence below instead of a stack trace. `cli/main.ts` is a link to it.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major > 24 || (major === 24 && minor >= 12)) {
  void import("../cli/program.ts");
} else {
  process.stderr.write(
    "contrast: needs Node 24.12 or later, and this is " +
      process.versions.node +
      "; the executable of a release brings its own, and so does a checkout after `npm ci`: npx node cli/main.ts\n",
  );
  process.exitCode = 2;
}
