import dns from "node:dns";
import { syncBuiltinESMExports } from "node:module";

/**
 * Stands in for the cluster's DNS, which needs privileges to set up: loaded before a program (`node --import`), it
 * answers for the names in DEMO_SERVICES (`name=address,name=address`) and leaves all others to the system.
 */
const services = new Map(
  (process.env["DEMO_SERVICES"] ?? "").split(",").map((entry) => {
    const [name = "", address = ""] = entry.split("=");
    return [name, address];
  }),
);

const system = dns.lookup;

type Callback = (error: Error | null, address: string | dns.LookupAddress[], family: number) => void;

const lookup = (host: string, options: dns.LookupOptions, callback: Callback): void => {
  const address = services.get(host);
  if (address === undefined) system(host, options, callback);
  else process.nextTick(callback, null, options.all === true ? [{ address, family: 4 }] : address, 4);
};

// Every caller here passes options and a callback, as `net.connect` does.
Object.assign(dns, { lookup });
syncBuiltinESMExports();
