import { Server } from "@grpc/grpc-js";
import { addService } from "./add-service.ts";
import { EmojiService } from "../proto/emojivoto_pb.ts";
import { EMOJI, findByShortcode } from "./emoji-list.ts";
import { counter } from "./metrics.ts";
import { toStatus, UnknownEmoji } from "./unknown-emoji.ts";

/** Which emoji there are. */
export function createEmojiService(): { readonly server: Server; readonly metrics: () => string } {
  const requests = new Map([
    ["ListAll", 0],
    ["FindByShortcode", 0],
  ]);
  const count = (method: string): void => void requests.set(method, (requests.get(method) ?? 0) + 1);

  const server = new Server();
  addService(
    server,
    EmojiService,
    {
      async listAll() {
        count("ListAll");
        return { list: EMOJI.slice() };
      },
      async findByShortcode({ shortcode }) {
        count("FindByShortcode");
        const emoji = findByShortcode(shortcode);
        if (emoji === undefined) throw new UnknownEmoji(shortcode);
        return { emoji };
      },
    },
    toStatus,
  );
  return {
    server,
    metrics: () => counter("emojivoto_emoji_requests_total", "Requests by method.", "method", requests),
  };
}
