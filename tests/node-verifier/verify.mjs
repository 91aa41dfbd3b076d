// Verifies Sigstore bundles with @sigstore/verify: one JSON request a line on stdin, one JSON answer a line on stdout.
// A request is {bundle: base64, root: trusted root, identity, issuer}; an answer {statement: base64} or {refused: why}.
import { createInterface } from "node:readline";
import { bundleFromJSON } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { Verifier, toSignedEntity, toTrustMaterial } from "@sigstore/verify";

// The library takes the identity as a regular expression that may match anywhere: only the whole, literally, is meant.
const exactly = (text) => new RegExp(`^${text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")}$`);

function verified({ bundle, root, identity, issuer }) {
  const read = bundleFromJSON(JSON.parse(Buffer.from(bundle, "base64").toString("utf8")));
  const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(root)));
  verifier.verify(toSignedEntity(read), { subjectAlternativeName: exactly(identity), extensions: { issuer } });
  return read.content.dsseEnvelope.payload.toString("base64");
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { statement: verified(JSON.parse(line)) };
  } catch (error) {
    answer = { refused: `${error.name}: ${error.message}` };
  }
  console.log(JSON.stringify(answer));
}
