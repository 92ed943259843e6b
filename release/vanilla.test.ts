import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { vanilla } from "./vanilla.ts";

const FILE = `# Says hello.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hello
  namespace: demo
spec:
  template:
    metadata:
      annotations:
        contrast.edgeless.systems/servicemesh-ingress: ""
        example.com/kept: "yes"
    spec:
      runtimeClassName: contrast-cc
      containers:
        - name: hello
          image: hello:1
          command: ["hello", "--loud"]
          resources: { limits: { memory: 1Gi } }
---
apiVersion: v1
kind: Service
metadata:
  name: hello
  namespace: demo
`;

test("what makes a deployment confidential is taken away, and nothing else", () => {
  const text = vanilla([FILE, "kind: ConfigMap\nmetadata: { name: other }\n"]);
  const resources = parseAllDocuments(text).map((document) => document.toJS() as unknown);
  expect(resources).toEqual([
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "hello" },
      spec: {
        template: {
          metadata: { annotations: { "example.com/kept": "yes" } },
          spec: { containers: [{ name: "hello", image: "hello:1", command: ["hello", "--loud"] }] },
        },
      },
    },
    { apiVersion: "v1", kind: "Service", metadata: { name: "hello" } },
    { kind: "ConfigMap", metadata: { name: "other" } },
  ]);
  expect(text).toContain("# Says hello.\n");
  expect(text).toContain('command: ["hello", "--loud"]\n');
});
