import { openSimulatedAttester } from "../../attestation/simulated/attester.ts";
import { tsmReports } from "./configfs-tsm.ts";
import { type Faults, NO_FAULTS } from "./faults.ts";
import { FuseServer } from "./fuse.ts";
import { Host } from "./host.ts";
import { sevGuest } from "./sev-guest.ts";
import { tdxGuest } from "./tdx-guest.ts";
import type { Directory, File } from "./tree.ts";

/**
 * For tests: the fake kernel, a process of its own, for a process that waits for its own file system is stuck.
 * Arguments: where to mount, and the directory of a VM of the software TEE. Messages set the faults.
 */

const [mountPoint = "", vmDir = ""] = process.argv.slice(2);
const faults: Faults = { ...NO_FAULTS };
const host = new Host(await openSimulatedAttester(vmDir), faults, () => process.send?.("holding"));
const entries = new Map<string, Directory | File>([
  ["report", tsmReports(host, faults)],
  ["sev-guest", sevGuest(host, faults)],
  ["tdx_guest", tdxGuest(faults)],
]);
const server = new FuseServer(mountPoint, { entries });
process.on("message", (changes: Partial<Faults>) => {
  Object.assign(faults, changes);
  process.send?.("set");
});
process.on("disconnect", () => server.unmount());
process.on("SIGTERM", () => server.unmount());
process.on("SIGINT", () => server.unmount());
process.send?.("mounted");
await server.serve();
process.exit(0);
