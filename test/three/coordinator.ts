import { mkdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { type Program, startProgram } from "../programs.ts";
import { hosts, PEERS_NAME, Place } from "./network.ts";
import type { SharedStore } from "./store.ts";

/** The Coordinator of a pod: its process ends and begins again, and its place stays. */

const root = join(import.meta.dirname, "../..");
const RESTART_MS = 500;
const FOLDER_SIZE = "8m";

export class Coordinator {
  readonly number: number;
  readonly place: Place;
  /** How often the process ended by itself. */
  ends = 0;
  readonly #folder: string;
  readonly #tee: string;
  readonly #store: SharedStore;
  #program: Program | undefined;
  #isWanted = false;
  #logs: string[] = [];

  private constructor(number: number, place: Place, folder: string, tee: string, store: SharedStore) {
    this.number = number;
    this.place = place;
    this.#folder = folder;
    this.#tee = tee;
    this.#store = store;
  }

  static async make(number: number, directory: string, tee: string, store: SharedStore): Promise<Coordinator> {
    const folder = join(directory, `coordinator-${number}`);
    mkdirSync(join(folder, "state"), { recursive: true });
    const place = await Place.make(number);
    writeFileSync(join(folder, "hosts"), hosts());
    place.run("mount", "--bind", join(folder, "hosts"), "/etc/hosts");
    place.run("mount", "-t", "tmpfs", "-o", `size=${FOLDER_SIZE}`, "tmpfs", join(folder, "state"));
    const coordinator = new Coordinator(number, place, folder, tee, store);
    coordinator.setClock(0);
    writeFileSync(coordinator.#shim, shimFor(join(folder, "offset")));
    return coordinator;
  }

  get address(): string {
    return this.place.address;
  }

  get #shim(): string {
    return join(this.#folder, "clock.mjs");
  }

  /** Also after it has ended by itself, until it is killed. */
  start(): void {
    this.#isWanted = true;
    const { within, environment } = this.#store.access(this.number);
    const program = startProgram(
      [join(root, "coordinator/main.ts")],
      {
        NODE_OPTIONS: `--import=${pathToFileURL(this.#shim).href}`,
        CONTRAST_TEE: "simulated",
        CONTRAST_ALLOW_INSECURE: "1",
        CONTRAST_SIMULATED_TEE_DIR: this.#tee,
        CONTRAST_STATE_DIR: join(this.#folder, "state"),
        CONTRAST_LISTEN_ADDRESS: this.address,
        CONTRAST_PEERS: `${PEERS_NAME}:7777`,
        CONTRAST_AUDIT_LOG: "off",
        ...environment,
      },
      [...this.place.within, ...within],
    );
    this.#program = program;
    void program.exited.then(async () => {
      this.#logs.push(...program.log.map((line) => JSON.stringify(line)), ...program.text);
      if (program !== this.#program || !this.#isWanted) return;
      this.ends++;
      await sleep(RESTART_MS);
      if (program === this.#program && this.#isWanted) this.start();
    });
  }

  async kill(): Promise<void> {
    this.#isWanted = false;
    const program = this.#program;
    if (program === undefined) return;
    program.child.kill("SIGKILL");
    await program.exited;
  }

  pause(): void {
    this.#program?.child.kill("SIGSTOP");
  }

  resume(): void {
    this.#program?.child.kill("SIGCONT");
  }

  /** By how much its clock is wrong, in milliseconds. The machine's clock stays, and so does the one that nobody sets. */
  setClock(wrong: number): void {
    writeFileSync(join(this.#folder, "offset"), `${wrong}`);
  }

  /** Fills the folder that it keeps the vendors' answers in. */
  fill(): void {
    const file = join(this.#folder, "state", "filler");
    try {
      this.place.run("dd", "if=/dev/zero", `of=${file}`, "bs=64k", "status=none");
    } catch {
      // That is how it ends.
    }
  }

  empty(): void {
    this.place.run("rm", "-f", join(this.#folder, "state", "filler"));
  }

  /** What the readiness probe says; undefined: nothing. */
  async phase(): Promise<string | undefined> {
    return new Promise((resolve) => {
      const probe = request({ host: this.address, port: 9102, path: "/probe/readiness", timeout: 2000 }, (response) => {
        let body = "";
        response.on("data", (chunk) => (body += String(chunk)));
        response.on("end", () => resolve(body.trim().split(/[\s:;,]/, 1)[0]));
        response.on("error", () => resolve(undefined));
      });
      probe.on("timeout", () => probe.destroy());
      probe.on("error", () => resolve(undefined));
      probe.end();
    });
  }

  /** All that it has logged. */
  get log(): readonly string[] {
    const now = this.#program;
    const isOver = now === undefined || now.child.exitCode !== null || now.child.signalCode !== null;
    return isOver ? this.#logs : [...this.#logs, ...now.log.map((line) => JSON.stringify(line)), ...now.text];
  }

  async close(): Promise<void> {
    this.resume();
    await this.kill();
    this.place.release();
  }
}

/** The clock of a program that is wrong by what a file says. */
function shimFor(offset: string): string {
  return `import { readFileSync } from "node:fs";
const Real = Date;
const now = () => Real.now() + Number(readFileSync(${JSON.stringify(offset)}, "utf8") || 0);
globalThis.Date = class extends Real {
  constructor(...args) { if (args.length === 0) super(now()); else super(...args); }
  static now() { return now(); }
};`;
}
