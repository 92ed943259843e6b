/**
 * Starts the program. This file is also valid JavaScript for every old Node, and its folder is CommonJS, so that such
 * a Node gets as far as the sentence below instead of a stack trace. `mesh-proxy/main.ts` is a link to it.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major > 24 || (major === 24 && minor >= 12)) {
  const [command, argument] = process.argv.slice(2);
  if (command === "healthcheck" && (argument === undefined || argument === "wait")) {
    // A probe runs often: it does not load the program.
    void import("../mesh-proxy/observe/healthcheck.ts")
      .then(({ healthcheck, waitUntilReady }) => (argument === "wait" ? waitUntilReady : healthcheck)(process.env))
      .then(({ code, text }) => {
        process.stdout.write(text + "\n");
        process.exitCode = code;
      });
  } else {
    // First: it has a thread of its own from then on.
    void import("../mesh-proxy/native/addon.ts")
      .then(({ prepareEngine }) => prepareEngine(process.env))
      .then(() => import("../mesh-proxy/program.ts"))
      .catch((error) => {
        process.stderr.write(
          "mesh-proxy: load: the program can't be loaded: " +
            String(error).replace(/\s+/g, " ").slice(0, 1000) +
            "; it is not complete: pull its image again, or run npm ci\n",
        );
        process.exit(1);
      });
  }
} else {
  process.stderr.write(
    "contrast: needs Node 24.12 or later, and this is " +
      process.versions.node +
      "; after `npm ci` the right one is at hand: npx node mesh-proxy/main.ts\n",
  );
  process.exitCode = 2;
}
