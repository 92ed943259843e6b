import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh } from "../../pki/test-mesh.ts";
import { refusedClient, refusedUpstream } from "./refused-peers.ts";

const SUBNET = "127.83.8";
const HOUR = 3_600_000;

let mesh: Mesh;
beforeAll(async () => void (mesh = await createMesh()));

test("a client whose certificate has expired is refused, and the application never hears of it", async () => {
  const peer = await mesh.issue({ validForMs: -HOUR });
  const lines = await refusedClient({ mesh, peer, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "client_certificate_untrusted", got: "CERT_HAS_EXPIRED" }]);
});

test("an upstream whose certificate has expired is refused with a reset, and gets nothing", async () => {
  const peer = await mesh.issue({ validForMs: -HOUR });
  const lines = await refusedUpstream({ mesh, peer, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "upstream_untrusted", got: "CERT_HAS_EXPIRED" }]);
});
