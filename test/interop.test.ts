import { ChannelCredentials, Client } from "@grpc/grpc-js";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { callUnary } from "../api/grpc.ts";
import { EmojiService } from "../demo/proto/emojivoto_pb.ts";
import { createMesh, type Mesh, type Workload, writeTlsConfig } from "../pki/test-mesh.ts";
import { type Program, startProgram } from "./programs.ts";

/** Clients that know nothing of this project, against emoji behind its mesh proxy, both as programs. */

const APPLICATION = "127.89.0.1";
const PROXY = "127.89.0.2";
const run = promisify(execFile);
const programs: Program[] = [];
let mesh: Mesh;
let client: Workload;
let folder: string;

beforeAll(async () => {
  mesh = await createMesh();
  client = await mesh.issue({ sans: ["client"] });
  folder = await writeTlsConfig(mesh, await mesh.issue({ sans: ["emoji"] }));
  writeFileSync(join(folder, "client.pem"), client.certChain);
  writeFileSync(join(folder, "client-key.pem"), client.key);
  programs.push(startProgram(["demo/apps/emoji.ts"], { LISTEN_ADDRESS: APPLICATION }));
  programs.push(
    startProgram(["mesh-proxy/main.ts"], {
      CONTRAST_TLS_CONFIG_DIR: folder,
      CONTRAST_INGRESS_PROXY_CONFIG: "",
      CONTRAST_INGRESS_MODE: "bind",
      CONTRAST_INGRESS_BIND: PROXY,
      CONTRAST_INGRESS_TARGET: APPLICATION,
      CONTRAST_INGRESS_PORTS: "8080,8801",
    }),
  );
  for (const program of programs) await program.line("ready");
});

afterAll(async () => {
  for (const program of programs) {
    program.child.kill("SIGKILL");
    await program.exited;
  }
  await rm(folder, { recursive: true });
});

function grpcClient(key: string | null, cert: string | null): Client {
  const buffer = (text: string | null): Buffer | null => (text === null ? null : Buffer.from(text));
  const credentials = ChannelCredentials.createSsl(Buffer.from(mesh.meshCa), buffer(key), buffer(cert));
  return new Client(`${PROXY}:8080`, credentials, {
    "grpc.ssl_target_name_override": "emoji",
    "grpc.enable_retries": 0,
  });
}

test("gRPC over mutual TLS", async () => {
  const grpc = grpcClient(client.key, client.certChain);
  const deadline = new Date(Date.now() + 10_000);
  const { emoji } = await callUnary(grpc, EmojiService.method.findByShortcode, { shortcode: ":doughnut:" }, deadline);
  expect(emoji?.unicode).toBe("🍩");
  grpc.close();
});

test("gRPC without a client certificate is refused", async () => {
  const grpc = grpcClient(null, null);
  const deadline = new Date(Date.now() + 3000);
  const call = callUnary(grpc, EmojiService.method.findByShortcode, { shortcode: ":doughnut:" }, deadline);
  await expect(call).rejects.toMatchObject({ details: expect.stringMatching(/certificate required|ECONNRESET/) });
  grpc.close();
});

const curl = ["-sS", "--max-time", "5", "--connect-to", `emoji:8801:${PROXY}:8801`, "https://emoji:8801/metrics"];

test("curl with a client certificate gets the metrics", async () => {
  const identity = ["--cert", join(folder, "client.pem"), "--key", join(folder, "client-key.pem")];
  const { stdout } = await run("curl", [...curl, "--cacert", join(folder, "mesh-ca.pem"), ...identity]);
  expect(stdout).toContain("emojivoto");
});

test("curl without one gets nothing", async () => {
  await expect(run("curl", [...curl, "--cacert", join(folder, "mesh-ca.pem")])).rejects.toMatchObject({ stdout: "" });
});

test("openssl s_client follows the chain to the mesh CA", async () => {
  const { stdout } = await run(
    "bash",
    [
      "-c",
      `openssl s_client -connect ${PROXY}:8080 -servername emoji -verify_hostname emoji -CAfile mesh-ca.pem \
      -cert client.pem -key client-key.pem -verify_return_error -brief < /dev/null 2>&1`,
    ],
    { cwd: folder },
  );
  expect(stdout).toContain("Verification: OK");
  expect(stdout).toContain("TLSv1.3");
});
