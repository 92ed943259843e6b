import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Files of Kubernetes resources: so many Deployments, each with its Service and rules of the mesh, and a Coordinator. */
export async function writeDeployments(directory: string, count: number, perFile: number): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "coordinator.yml"), COORDINATOR);
  for (let first = 0; first < count; first += perFile) {
    const numbers = Array.from({ length: Math.min(perFile, count - first) }, (_, index) => first + index);
    await writeFile(join(directory, `apps-${first}.yml`), numbers.map(deployment).join("---\n"));
  }
}

const COORDINATOR = `apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: coordinator
  namespace: shop
spec:
  template:
    metadata:
      annotations:
        contrast.edgeless.systems/pod-role: coordinator
    spec:
      runtimeClassName: contrast-cc
      containers:
        - name: coordinator
          image: contrast/coordinator:0.1.0
          resources:
            limits:
              memory: 256Mi
`;

function deployment(number: number): string {
  return `# Application number ${number}.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-${number}
  namespace: shop
  labels:
    app: app-${number}
spec:
  replicas: 2
  selector:
    matchLabels:
      app: app-${number}
  template:
    metadata:
      labels:
        app: app-${number}
      annotations:
        contrast.edgeless.systems/servicemesh-ingress: web#8080#false
        contrast.edgeless.systems/servicemesh-egress: 'db#127.137.0.1:5432#db:5432'
    spec:
      runtimeClassName: contrast-cc
      terminationGracePeriodSeconds: 35
      containers:
        - name: app
          image: registry.example.com/app@sha256:${"ab".repeat(32)}
          command: ["/app", "--number", "${number}"]
          env:
            - name: MODE
              value: fast
          lifecycle:
            preStop:
              sleep:
                seconds: 5
          ports:
            - containerPort: 8080
          resources:
            limits:
              memory: 64Mi
          volumeMounts:
            - name: data
              mountPath: /data
      volumes:
        - name: data
          emptyDir: {}
---
apiVersion: v1
kind: Service
metadata:
  name: app-${number}
  namespace: shop
spec:
  selector:
    app: app-${number}
  ports:
    - port: 8080
`;
}
