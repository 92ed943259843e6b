import { type Document, isMap, isScalar, isSeq, parseAllDocuments } from "yaml";

/** The demo as it was before anybody made it confidential, in one file: what a user's own deployment looks like. */

/** As in the files: without a prefix there is nothing that Contrast reads. */
const PREFIX = "contrast.edgeless.systems/";
const TEMPLATE = ["spec", "template"];

/**
 * Takes away what makes a deployment confidential: the runtime class, the resources, the annotations, and the namespace,
 * so that the file goes into whatever namespace its user has chosen.
 *
 * @param files YAML with Deployments and Services, comments included
 */
export function vanilla(files: readonly string[]): string {
  const documents = files.flatMap((text) => [...parseAllDocuments(text)]);
  for (const document of documents) strip(document);
  const options = { lineWidth: 0, directives: false, flowCollectionPadding: false } as const;
  return `${documents.map((document) => document.toString(options).trimEnd()).join("\n---\n")}\n`;
}

function strip(document: Document): void {
  document.deleteIn(["metadata", "namespace"]);
  if (!document.hasIn(TEMPLATE)) return;
  document.deleteIn([...TEMPLATE, "spec", "runtimeClassName"]);
  const annotations = document.getIn([...TEMPLATE, "metadata", "annotations"]);
  if (isMap(annotations)) {
    annotations.items = annotations.items.filter(({ key }) => !isScalar(key) || !String(key.value).startsWith(PREFIX));
    if (annotations.items.length === 0) document.deleteIn([...TEMPLATE, "metadata", "annotations"]);
  }
  const containers = document.getIn([...TEMPLATE, "spec", "containers"]);
  if (!isSeq(containers)) return;
  for (const container of containers.items) if (isMap(container)) container.delete("resources");
}
