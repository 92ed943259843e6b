/** @returns the element of the page with this id @throws Error where it is another one: then the page is not the script's */
export function find<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`this page has no ${id}`);
}
