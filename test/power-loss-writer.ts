import { FileStore } from "../store/file-store.ts";

/** Moves the pointer of the store in the given directory without end, and says each time how far it is. */

const [directory = ""] = process.argv.slice(2);
const store = await FileStore.open(directory, { pid: process.pid, host: "test", since: new Date() });
let latest: Buffer | undefined;
for (let count = 1; ; count++) {
  const digest = await store.put("policies", Buffer.from(`policy ${count % 50}`));
  const next = Buffer.from(`${count} ${digest}`);
  await store.compareAndSwapLatest(latest, next);
  latest = next;
  process.stdout.write(`${count}\n`);
}
