/**
 * `$(NAME)` in commands and variables, as the kubelet expands it (k8s.io/kubernetes/third_party/forked/golang/expansion):
 * `$$` is a dollar, a reference to what is not known stays as it is.
 */

/** Text; in pieces where only the VM sees a variable's value: the policy puts it in. */
export type Template = string | readonly Piece[];
type Piece = string | { readonly variable: string };

/** What stands for a variable; undefined: nothing, the reference stays. */
export type Resolve = (name: string) => Template | undefined;

const REFERENCE = /\$(?:\$|\(([^)]*)\))/g;

export function expand(text: string, resolve: Resolve): Template {
  const pieces: Piece[] = [];
  const add = (template: Template): void => {
    for (const piece of typeof template === "string" ? [template] : template) {
      const last = pieces.at(-1);
      if (typeof piece === "string" && typeof last === "string") pieces[pieces.length - 1] = last + piece;
      else pieces.push(piece);
    }
  };
  let at = 0;
  for (const { 0: reference, 1: name, index } of text.matchAll(REFERENCE)) {
    add(text.slice(at, index));
    add(name === undefined ? "$" : (resolve(name) ?? reference));
    at = index + reference.length;
  }
  add(text.slice(at));
  const kept = pieces.filter((piece) => piece !== "");
  return kept.every((piece) => typeof piece === "string") ? kept.join("") : kept;
}
