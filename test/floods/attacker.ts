import { ATTACKS } from "./attacks.ts";

/** Attacks the Coordinator at an address of loopback, for so many milliseconds, as a process of its own. */
const [name = "", target = "", milliseconds = ""] = process.argv.slice(2);
const attack = ATTACKS[name];
if (attack === undefined || !target.startsWith("127.")) throw new Error(`no attack "${name}" on "${target}"`);
const tell = (msg: string): void => void process.stderr.write(`${JSON.stringify({ level: "info", msg })}\n`);
// What an attacker's own sockets make of being thrown out is not of interest.
process.on("uncaughtException", () => undefined);
setTimeout(() => process.exit(0), Number(milliseconds) + 2000).unref();
tell("attacking");
const end = new AbortController();
setTimeout(() => end.abort(), Number(milliseconds));
await attack(target, end.signal);
process.exit(0);
