import { Server } from "@grpc/grpc-js";
import { addService } from "./add-service.ts";
import { VotingService } from "../proto/emojivoto_pb.ts";
import { findByShortcode } from "./emoji-list.ts";
import { counter } from "./metrics.ts";
import { toStatus, UnknownEmoji } from "./unknown-emoji.ts";

/** Counts the votes in memory: they are gone when the program ends. */
export function createVotingService(): { readonly server: Server; readonly metrics: () => string } {
  const votes = new Map<string, number>();

  const server = new Server();
  addService(
    server,
    VotingService,
    {
      async vote({ shortcode }) {
        // Otherwise a caller who makes up shortcodes could fill the memory.
        if (findByShortcode(shortcode) === undefined) throw new UnknownEmoji(shortcode);
        votes.set(shortcode, (votes.get(shortcode) ?? 0) + 1);
        return {};
      },
      async results() {
        return { results: Array.from(votes, ([shortcode, count]) => ({ shortcode, votes: count })) };
      },
    },
    toStatus,
  );
  return { server, metrics: () => counter("emojivoto_votes_total", "Votes by emoji.", "emoji", votes) };
}
