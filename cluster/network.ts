import { existsSync } from "node:fs";
import { onClient, onNode, run } from "./commands.ts";
import { CLIENT, NODE } from "./layout.ts";

/** The network of the cluster: two namespaces and one cable between them. Nothing leads out of them. */

export function hasNetwork(): boolean {
  return existsSync(`/run/netns/${NODE.namespace}`);
}

export async function makeNetwork(): Promise<void> {
  for (const { namespace } of [NODE, CLIENT]) await run("ip", ["netns", "add", namespace]);
  for (const within of [onNode, onClient]) await within("ip", "link", "set", "lo", "up");
  await onNode("ip", "link", "add", "ext0", "type", "veth", "peer", "name", "ext0", "netns", CLIENT.namespace);
  await onNode("ip", "address", "add", `${NODE.address}/24`, "dev", "ext0");
  await onClient("ip", "address", "add", `${CLIENT.address}/24`, "dev", "ext0");
  for (const within of [onNode, onClient]) await within("ip", "link", "set", "ext0", "up");
  await onClient("ip", "route", "add", "default", "via", NODE.address);
  // Addresses of Services have to be routable, so that OUTPUT sees and rewrites them. The client forwards nothing.
  await onNode("ip", "route", "add", "default", "via", CLIENT.address);
  await onNode("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1");
}

export async function removeNetwork(): Promise<void> {
  for (const { namespace } of [NODE, CLIENT]) {
    if (existsSync(`/run/netns/${namespace}`)) await run("ip", ["netns", "delete", namespace]);
  }
}
