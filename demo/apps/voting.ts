import { runGrpcProgram } from "./grpc-program.ts";
import { createVotingService } from "./voting-service.ts";

await runGrpcProgram({ name: "voting", summary: "counts the votes", create: createVotingService }, process);
