import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { SetManifestPermitSchema } from "./userapi_pb.ts";

/** Goes ahead of a large request, in the metadata of its call, and says why it should be taken. */
export const PERMIT_HEADER = "contrast-permit-bin";

export function encodePermit(permit: MessageInitShape<typeof SetManifestPermitSchema>): Buffer {
  return Buffer.from(toBinary(SetManifestPermitSchema, create(SetManifestPermitSchema, permit)));
}
