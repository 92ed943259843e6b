import { isIPv6 } from "node:net";
import { Malformed, type Variable } from "../runtime/environment.ts";
import { parsePort } from "../runtime/variables.ts";

const MESH_API_PORT = 7777;
const WANTED = "a host or host:port, like coordinator or coordinator.ns.svc:7777";

/** `COORDINATOR_HOST`: host, host:port, IPv4, [IPv6] or [IPv6]:port; gives the target of a gRPC channel. */
export const coordinatorHost: Variable<string> = {
  help: `the Coordinator's mesh API, host or host:port (default port: ${MESH_API_PORT}); required`,
  unset: "",
  parse(text) {
    if (isIPv6(text)) return `[${text}]:${MESH_API_PORT}`;
    const match = /^(?:\[([^\]]+)\]|([A-Za-z0-9._-]+))(?::(.*))?$/.exec(text);
    const [, v6, name, portText] = match ?? [];
    const port = portText === undefined ? MESH_API_PORT : parsePort(portText);
    const host = v6 !== undefined && isIPv6(v6) ? `[${v6}]` : name;
    if (host === undefined || port === undefined) throw Malformed.text(text, WANTED);
    return `${host}:${port}`;
  },
};
