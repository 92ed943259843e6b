/**
 * Starts the program. This file is also valid JavaScript for every old Node, and its folder is CommonJS, so that such
 * a Node gets as far as the sentence below instead of a stack trace. `node-installer/main.ts` is a link to it.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major > 24 || (major === 24 && minor >= 12)) {
  void import("../node-installer/program.ts").catch((error) => {
    process.stderr.write(
      "node-installer: load: the program can't be loaded: " +
        String(error).replace(/\s+/g, " ").slice(0, 1000) +
        "; it is not complete: pull its image again, or run npm ci\n",
    );
    process.exit(1);
  });
} else {
  process.stderr.write(
    "contrast: needs Node 24.12 or later, and this is " +
      process.versions.node +
      "; after `npm ci` the right one is at hand: npx node node-installer/main.ts\n",
  );
  process.exitCode = 2;
}
