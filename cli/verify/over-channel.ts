import { UserAPI } from "../../api/userapi_pb.ts";
import { ChannelError } from "../../channel/error.ts";
import { attestedHistory } from "../../manifest/attested-history.ts";
import { callDeadline, connect } from "../coordinator.ts";
import type { Context } from "../context.ts";
import type { Deployment } from "../workspace/deployment.ts";
import type { ManifestAtHand } from "../workspace/manifest-at-hand.ts";

/**
 * A deployment as its Coordinator tells it over the attested channel: what it says is as good as its evidence, and that owners
 * allowed every change is checked here.
 *
 * @throws ChannelError, RemoteError, EvidenceError, HistoryError, Refusal, CliError
 */
export async function deploymentOverChannel(
  context: Context,
  address: string,
  { manifest }: ManifestAtHand,
): Promise<Deployment> {
  const coordinator = await connect(context, address, manifest);
  try {
    const response = await coordinator.call(UserAPI.method.getManifests, {}, callDeadline(context));
    const { server } = coordinator;
    if (server === undefined) throw new ChannelError("evidence_missing", "the server was not asked for evidence");
    const { rootCaCert: rootCa, meshCaCert: meshCa, policies, seedShares } = response;
    return { ...attestedHistory(response), coordinator: server, rootCa, meshCa, policies, seedShares };
  } finally {
    coordinator.close();
  }
}
