import type { Request } from "./test-container.ts";
import { copyOf, idOf } from "./test-mounts.ts";

/** What the Kata runtime asks for beside containers: the network, and copies of the host's files (agent.proto, types.proto). */
export const SET_UP: readonly Request[] = [
  {
    kind: "UpdateInterfaceRequest",
    request: {
      interface: {
        device: "eth0",
        name: "eth0",
        IPAddresses: [
          { family: 0, address: "10.244.0.14", mask: "24" },
          { family: 1, address: "fd00:10:244::14", mask: "64" },
        ],
        mtu: 1500,
        hwAddr: "66:74:9f:6a:96:01",
        devicePath: "02/00",
        type_: "",
        raw_flags: 0,
      },
    },
  },
  {
    kind: "UpdateRoutesRequest",
    request: {
      routes: {
        Routes: [
          route({ gateway: "10.244.0.1" }),
          route({ dest: "10.244.0.0/24", source: "10.244.0.14", scope: 253 }),
          route({ gateway: "fe80::1", family: 1 }),
        ],
      },
    },
  },
  {
    kind: "AddARPNeighborsRequest",
    request: {
      neighbors: {
        ARPNeighbors: [
          {
            toIPAddress: { family: 0, address: "10.244.0.1", mask: "" },
            device: "eth0",
            lladdr: "66:74:9f:6a:96:02",
            state: 128,
            flags: 0,
          },
        ],
      },
    },
  },
  copy("Regular", 0o100644, copyOf(idOf("pod"), "/etc/hosts"), null),
  copy("Directory", 0o040755, copyOf(idOf("pod"), "/config"), null),
  copy("Symlink", 0o120777, `${copyOf(idOf("pod"), "/config")}/key`, "..data/key"),
];

function route(change: object): object {
  return { dest: "", gateway: "", device: "eth0", source: "", scope: 0, family: 0, flags: 0, mtu: 0, ...change };
}

/** As the agent hands it to its policy, which is without the bytes (PolicyCopyFileRequest). */
function copy(file_type: string, file_mode: number, path: string, symlink_target: string | null): Request {
  const request = { path, file_type, symlink_target, file_size: 170, file_mode, dir_mode: 0o750, uid: 0, gid: 0 };
  return { kind: "CopyFileRequest", request: { ...request, offset: 0 } };
}
