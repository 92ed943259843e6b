import { syncBuiltinESMExports } from "node:module";
import tls, { type ConnectionOptions } from "node:tls";

/** Preloaded into a mesh proxy that is to make a full handshake for every connection, or to have so many threads. */
const changed = JSON.parse(process.env["BENCH_ENGINE_SETTINGS"] ?? "{}") as { resumes?: boolean; threads?: number };

if (changed.resumes === false) {
  const { connect } = tls;
  tls.connect = ((options: ConnectionOptions, ...rest: []) => {
    const { session: _, ...others } = options;
    return connect(others, ...rest);
  }) as typeof connect;
  syncBuiltinESMExports();
}

/** The native engine is told so when it is created. */
interface Addon {
  exports: { readonly create?: (settings: object, ...rest: unknown[]) => unknown };
}

const dlopen = process.dlopen.bind(process);
process.dlopen = (addon: object, ...rest: [string]) => {
  dlopen(addon, ...rest);
  const loaded = addon as Addon;
  const { create } = loaded.exports;
  if (create === undefined) return;
  loaded.exports = {
    ...loaded.exports,
    create: (settings, ...others) => create({ ...settings, ...changed }, ...others),
  };
};
