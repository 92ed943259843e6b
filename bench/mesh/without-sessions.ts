import { syncBuiltinESMExports } from "node:module";
import tls, { type ConnectionOptions } from "node:tls";

/** Preloaded into a mesh proxy that is to make a full handshake for every connection: sessions are not offered. */
const { connect } = tls;
tls.connect = ((options: ConnectionOptions, ...rest: []) => {
  const { session: _, ...others } = options;
  return connect(others, ...rest);
}) as typeof connect;
syncBuiltinESMExports();
