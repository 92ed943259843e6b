import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh } from "../../pki/test-mesh.ts";
import { refusedClient, refusedUpstream } from "./refused-peers.ts";

const SUBNET = "127.83.7";

let mesh: Mesh;
beforeAll(async () => void (mesh = await createMesh()));

test("a client of another CA by the same name is refused, and the application never hears of it", async () => {
  const peer = await (await createMesh()).issue();
  const lines = await refusedClient({ mesh, peer, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "client_certificate_untrusted", got: "CERT_SIGNATURE_FAILURE" }]);
});

test("an upstream of another CA by the same name is refused with a reset, and gets nothing", async () => {
  const peer = await (await createMesh()).issue();
  const lines = await refusedUpstream({ mesh, peer, subnet: SUBNET });
  expect(lines).toMatchObject([{ code: "upstream_untrusted", got: "CERT_SIGNATURE_FAILURE" }]);
});
