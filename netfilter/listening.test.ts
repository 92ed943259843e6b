import { createServer, type AddressInfo } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { isListening } from "./listening.ts";

test("the kernel says who listens, and who does not any more", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.84.8.1", resolve));
  const { port } = server.address() as AddressInfo;
  expect(await isListening(port)).toBe(true);
  await new Promise((resolve) => server.close(resolve));
  expect(await isListening(port)).toBe(false);
});

const HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const socket = (local: string, remote: string, state: string): string =>
  `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 5 1 0 100 0 0 10 0\n`;

test.each<[string, boolean, Record<string, string>]>([
  ["a listener", true, { tcp: HEAD + socket("0100007F:1F46", "00000000:0000", "0A") }],
  [
    "a listener of IPv6",
    true,
    { tcp: HEAD, tcp6: HEAD + socket(`${"0".repeat(32)}:1F46`, `${"0".repeat(32)}:0000`, "0A") },
  ],
  ["a connection from that port", false, { tcp: HEAD + socket("0100007F:1F46", "0100007F:1F40", "01") }],
  ["a connection to that port", false, { tcp: HEAD + socket("0100007F:1F40", "0100007F:1F46", "01") }],
  ["a listener at another port", false, { tcp: HEAD + socket("0100007F:1F47", "00000000:0000", "0A") }],
  ["nothing", false, { tcp: HEAD, tcp6: HEAD }],
  ["no list", true, {}],
])("%s: %s", async (_, expected, files) => {
  const folder = await mkdtemp(join(tmpdir(), "listening-"));
  onTestFinished(async () => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  expect(await isListening(8006, folder)).toBe(expected);
});
