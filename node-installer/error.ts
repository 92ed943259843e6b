import { CodedError } from "../runtime/errors.ts";

/** Why a node could not be prepared, and what to do about it. The node is then as it was before. */
export type NodeCode =
  /** The configuration of containerd is missing, is not TOML, or has a version that is not known: correct it. */
  | "containerd_config"
  /** containerd did not come back with the new handler, and its configuration is the old one again: see its log. */
  | "containerd_refused"
  /** containerd does not answer: see whether it runs, and where its socket is. */
  | "containerd_unreachable"
  /** It is not certain which process containerd is, so it can't be restarted: name its configuration file. */
  | "containerd_unknown"
  /** The files of kata-deploy are not there: install it on this node first. */
  | "kata_missing"
  /** A version of Kata that is not supported: install one that docs/kubernetes.md names. */
  | "kata_version"
  /** The image of the installer has no guest image: build it with one. */
  | "guest_missing"
  /** The guest image is not the one that its description names: pull or build the image of the installer anew. */
  | "guest_damaged"
  /** A file of the node could not be written: make room, or correct its permissions. */
  | "unwritable_node"
  /** The API server refused something: apply the file of the runtime class as a whole. */
  | "kubernetes_api";

export class NodeError extends CodedError<NodeCode> {}
