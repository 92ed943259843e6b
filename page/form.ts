import { find } from "./find.ts";
import { addressOf, fieldOf, formerOwnersOf, InputProblem, policyOf, type Question, type Source } from "./question.ts";

/** The form. Files are read here and go nowhere else. */
export interface Form {
  /** @throws InputProblem */
  readonly read: () => Question;
}

/** No manifest is larger (manifest/text.ts); nor a statement, with every document of a deployment; nor a chain. */
const MOST_BYTES = { manifest: 2 ** 20, statement: 128 * 2 ** 20, certificate: 64 * 2 ** 10 } as const;

type FileField = keyof typeof MOST_BYTES;

/** A file that was read; null while there is none. */
type Read = { readonly bytes: Uint8Array } | { readonly problem: string } | null;

/**
 * @param describe says of a file's bytes what a person may want to compare
 * @param onChange is told when a later answer would be one to another question
 */
export function watchForm(describe: (bytes: Uint8Array) => Promise<string>, onChange: () => void): Form {
  const files: Record<FileField, Read> = { manifest: null, statement: null, certificate: null };
  const [coordinator, policy] = [find("coordinator", HTMLInputElement), find("policy", HTMLInputElement)];
  const [live, saved] = [find("from-coordinator", HTMLInputElement), find("from-statement", HTMLInputElement)];
  const former = find("former", HTMLInputElement);
  const insecure = find("insecure", HTMLInputElement);

  const choose = async (field: FileField, file: File | undefined): Promise<void> => {
    files[field] = null;
    const about = find(`${field}-about`, HTMLElement);
    about.textContent = "";
    onChange();
    if (file === undefined) return;
    const read = await readFile(file, MOST_BYTES[field]);
    files[field] = read;
    about.textContent = "problem" in read ? read.problem : `${file.name}, ${await describe(read.bytes)}`;
    about.classList.toggle("bad", "problem" in read);
  };
  const showSource = (): void => {
    find("coordinator-body", HTMLElement).hidden = !live.checked;
    find("statement-body", HTMLElement).hidden = live.checked;
  };
  for (const field of ["manifest", "statement", "certificate"] as const) {
    const input = find(field, HTMLInputElement);
    input.addEventListener("change", () => void choose(field, input.files?.[0]));
  }
  for (const input of [coordinator, policy, former, insecure, live, saved]) input.addEventListener("input", onChange);
  for (const input of [live, saved]) input.addEventListener("input", showSource);
  watchDrops(async (file) => {
    const field = fieldOf(new Uint8Array(await file.slice(0, 4096).arrayBuffer()));
    if (field === "statement") saved.checked = true;
    // Where it is put is to be seen.
    if (field === "certificate") find(field, HTMLInputElement).closest("details")?.setAttribute("open", "");
    showSource();
    const input = find(field, HTMLInputElement);
    const list = new DataTransfer();
    list.items.add(file);
    input.files = list.files;
    await choose(field, file);
  });
  // A browser that goes back fills in what was there.
  showSource();

  const bytesOf = (field: FileField, missing: string): Uint8Array => {
    const file = files[field];
    if (file === null) throw new InputProblem(field, missing);
    if ("problem" in file) throw new InputProblem(field, file.problem);
    return file.bytes;
  };
  const source = (): Source =>
    live.checked
      ? { kind: "coordinator", url: addressOf(coordinator.value) }
      : { kind: "statement", statement: bytesOf("statement", "Choose the evidence.json that was saved.") };
  return {
    read: () => ({
      manifest: bytesOf("manifest", "Choose the manifest."),
      source: source(),
      policy: policyOf(policy.value),
      allowInsecure: insecure.checked,
      formerSeedshareOwners: formerOwnersOf(former.value),
      certificate: files.certificate === null ? undefined : bytesOf("certificate", ""),
    }),
  };
}

async function readFile(file: File, most: number): Promise<NonNullable<Read>> {
  if (file.size > most) return { problem: `This file has ${file.size} bytes; ${most} is the most.` };
  try {
    return { bytes: new Uint8Array(await file.arrayBuffer()) };
  } catch {
    return { problem: "This file can’t be read. Was it changed, or is it a folder? Choose it again." };
  }
}

/** Files can be dropped anywhere: a browser would leave the page for one that misses. */
function watchDrops(take: (file: File) => Promise<void>): void {
  const hasFiles = ({ dataTransfer }: DragEvent): boolean => dataTransfer?.types.includes("Files") === true;
  const mark = (isOver: boolean): void => void document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) mark(false);
  });
  document.addEventListener("drop", (event) => {
    mark(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    void takeAll(Array.from(event.dataTransfer?.files ?? []), take);
  });
}

async function takeAll(files: readonly File[], take: (file: File) => Promise<void>): Promise<void> {
  for (const file of files) await take(file);
}
