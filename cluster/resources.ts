import { join } from "node:path";
import { DNS_SERVICE, NODE } from "./layout.ts";

/** What a cluster has besides its programs: DNS, volumes. */

const DNS_PORTS = [
  { name: "dns", port: 53, protocol: "UDP" },
  { name: "dns-tcp", port: 53, protocol: "TCP" },
];

export const DNS: readonly object[] = [
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "kube-dns", namespace: "kube-system" },
    spec: { clusterIP: DNS_SERVICE, ports: DNS_PORTS },
  },
  {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "kube-dns-1", namespace: "kube-system", labels: { "kubernetes.io/service-name": "kube-dns" } },
    addressType: "IPv4",
    ports: DNS_PORTS,
    endpoints: [{ addresses: [NODE.address], conditions: { ready: true } }],
  },
];

const CLASS = "standard";

export const STORAGE_CLASS = {
  apiVersion: "storage.k8s.io/v1",
  kind: "StorageClass",
  metadata: { name: CLASS, annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
  provisioner: "kubernetes.io/no-provisioner",
  volumeBindingMode: "WaitForFirstConsumer",
  reclaimPolicy: "Retain",
};

export function volume(folder: string, number: number): object {
  return {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name: `volume-${number}` },
    spec: {
      capacity: { storage: "1Gi" },
      accessModes: ["ReadWriteOnce"],
      storageClassName: CLASS,
      persistentVolumeReclaimPolicy: "Retain",
      hostPath: { path: join(folder, `${number}`) },
    },
  };
}
