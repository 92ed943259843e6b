import { type Directory, Errno, type File } from "./tree.ts";
import { type Faults, spend } from "./faults.ts";
import type { Host } from "./host.ts";

/** For tests: /sys/kernel/config/tsm/report as drivers/virt/coco/guest/report.c and fs/configfs/file.c make it. */
export function tsmReports(host: Host, faults: Faults): Directory {
  return {
    entries: new Map(),
    make: () => {
      if (faults.provider === "") throw new Errno("ENXIO");
      return tsmReport(host, faults);
    },
  };
}

function tsmReport(host: Host, faults: Faults): Directory {
  let inblob: Buffer = Buffer.alloc(0);
  let written = 0;
  let answered: { readonly generation: number; readonly outblob: Buffer; readonly auxblob: Buffer } | undefined;

  const store = (bytes: Buffer): void => {
    written++;
    inblob = bytes;
  };
  const answer = async (): Promise<NonNullable<typeof answered>> => {
    if (inblob.length !== 64) throw new Errno("EINVAL");
    if (answered?.generation === written) return answered;
    if (spend(faults, "busy")) throw new Errno("EBUSY");
    if (faults.firmwareError !== 0) throw new Errno("EIO");
    if (faults.status !== 0) throw new Errno("ENXIO");
    if (spend(faults, "races")) store(Buffer.alloc(64, 0xee));
    const generation = written;
    answered = { generation, outblob: await host.report(inblob), auxblob: await host.certificateTable() };
    return answered;
  };

  const entries = new Map<string, File>([
    ["provider", { mode: 0o444, read: () => Buffer.from(`${faults.provider}\n`) }],
    ["generation", { mode: 0o444, read: () => Buffer.from(`${written}\n`) }],
    [
      "inblob",
      {
        mode: 0o200,
        maxWrite: 64,
        write: (bytes) => {
          if (!spend(faults, "lostWrites")) store(bytes);
        },
      },
    ],
    ["outblob", { mode: 0o400, read: async () => (await answer()).outblob }],
    ["auxblob", { mode: 0o400, read: async () => (await answer()).auxblob }],
  ]);
  if (faults.certificates === "no file") entries.delete("auxblob");
  return { entries, removable: true };
}
