/**
 * Starts the program. This file is also valid JavaScript for every old Node, and its folder is CommonJS, so that such
 * a Node gets as far as the sentence below instead of a stack trace. `mesh-proxy/main.ts` is a link to it.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major > 24 || (major === 24 && minor >= 12)) {
  const [command, argument] = process.argv.slice(2);
  if (command === "healthcheck" && (argument === undefined || argument === "wait")) {
    // A probe runs often: it does not load the program.
    void import("../mesh-proxy/healthcheck.ts")
      .then(({ healthcheck, waitUntilReady }) => (argument === "wait" ? waitUntilReady : healthcheck)(process.env))
      .then(({ code, text }) => {
        process.stdout.write(text + "\n");
        process.exitCode = code;
      });
  } else if (process.argv.length === 3 && process.argv[2] === "thread") {
    // What the program calls the threads that it starts; nobody else may.
    void import("node:worker_threads").then(({ isMainThread }) =>
      isMainThread ? import("../mesh-proxy/program.ts") : import("../mesh-proxy/threads/program.ts"),
    );
  } else {
    void import("../mesh-proxy/young-generation.ts").then(() => import("../mesh-proxy/program.ts"));
  }
} else {
  process.stderr.write(
    "contrast: needs Node 24.12 or later, and this is " +
      process.versions.node +
      "; after `npm ci` the right one is at hand: npx node mesh-proxy/main.ts\n",
  );
  process.exitCode = 2;
}
