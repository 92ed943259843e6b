import type { Html } from "../report/html.ts";
import { MARKUP_POLICY } from "./policy.ts";

/**
 * The one place where text becomes markup. It takes only what `html` built, in which strangers' text is escaped already;
 * parses it where nothing runs or loads; and refuses all of it if there is an element or an attribute that a report does not
 * consist of. So a mistake in an escape shows an error, and still nothing of a stranger's runs: the page's policy stands
 * behind this (policy.ts).
 */
const ELEMENTS = new Set(
  "a b br button caption code dd del details div dl dt figcaption figure g h2 h3 h4 ins li nav ol p path pre rect section span strong summary svg table tbody td text th thead time title tr ul wbr".split(
    " ",
  ),
);

const ATTRIBUTES = new Set(
  "aria-label aria-labelledby class colspan d data-title datetime dominant-baseline height href id open role rx scope tabindex text-anchor transform viewbox width x y".split(
    " ",
  ),
);

/** @throws Error where it is not what reports are made of */
export function fragmentOf(markup: Html): DocumentFragment {
  const template = document.createElement("template");
  // A browser without Trusted Types takes the text.
  template.innerHTML = (trusted?.createHTML(markup.toString()) ?? markup.toString()) as string;
  for (const element of template.content.querySelectorAll("*")) {
    const strange = Array.from(element.attributes, ({ name, value }) => {
      const isOwn = ATTRIBUTES.has(name.toLowerCase()) && (name !== "href" || /^#[a-z-]+$/.test(value));
      return isOwn ? undefined : name;
    }).find((name) => name !== undefined);
    if (!ELEMENTS.has(element.localName.toLowerCase()) || strange !== undefined) {
      throw new Error(`the report has what no report has: ${element.localName} ${strange ?? ""}`);
    }
  }
  return template.content;
}

interface TrustedTypes {
  readonly createPolicy: (
    name: string,
    rules: { readonly createHTML: (text: string) => string },
  ) => { readonly createHTML: (text: string) => unknown };
}

/** Made once: the page's policy allows no second one of this name. */
const trusted = (globalThis as { readonly trustedTypes?: TrustedTypes }).trustedTypes?.createPolicy(MARKUP_POLICY, {
  createHTML: (text) => text,
});
