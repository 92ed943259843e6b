import { beforeAll, expect, test } from "vitest";
import { createMesh, type Mesh } from "../../pki/test-mesh.ts";
import { refusedUpstream } from "./refused-peers.ts";

let mesh: Mesh;
beforeAll(async () => void (mesh = await createMesh()));

test.each([
  ["web", ["db", "web.example", "203.0.113.34", "spiffe://mesh/web"]],
  ["web.example", ["*.example", "web"]],
  ["203.0.113.34", ["203.0.113.35", "*"]],
  ["spiffe://mesh/web", ["spiffe://mesh/web2", "*", "x, URI:spiffe://mesh/web, y"]],
])("an upstream that is not %s but %j is refused with a reset, and gets nothing", async (san, sans) => {
  const lines = await refusedUpstream({ mesh, peer: await mesh.issue({ sans }), subnet: "127.83.10" }, san);
  expect(lines).toMatchObject([{ code: "upstream_identity", want: san }]);
});
