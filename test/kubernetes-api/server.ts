/** The API of Kubernetes for tests: an etcd and kube-apiservers, as they are. */
export * from "../../cluster/kubernetes-api.ts";
