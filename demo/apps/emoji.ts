import { createEmojiService } from "./emoji-service.ts";
import { runGrpcProgram } from "./grpc-program.ts";

await runGrpcProgram({ name: "emoji", summary: "knows which emoji there are", create: createEmojiService }, process);
