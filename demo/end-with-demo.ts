import { isMainThread } from "node:worker_threads";

/** Loaded before every program of the demo (`node --import`): a demo that is killed cannot end what it started. */
const demo = Number(process.env["DEMO_PID"]);
const CHECK_MS = 500;

if (isMainThread) {
  setInterval(() => {
    if (process.ppid !== demo) process.kill(process.pid, "SIGKILL");
  }, CHECK_MS).unref();
}
